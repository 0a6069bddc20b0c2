"""Corrects the tracking store of a workspace that was moved or copied, because MLflow stores absolute artifact paths.

In a copy, these paths would point into the original workspace, and new results would be written there.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def address(folder: Path) -> str:
    """Return a folder as MLflow reads it: a file URI if its path contains characters with a meaning in URLs."""
    path = str(folder)
    return path if quote(path) == path else folder.as_uri()


def follow(database: Path, artifacts: Path) -> int:
    """Replace stored paths of this store's own artifact folder by its present location `artifacts`. Returns the number of
    changed paths. Other locations are kept, because somebody configured them."""
    folder = f"/{artifacts.parent.name}/{artifacts.name}/"  # /.defectloop/mlartifacts/
    changed = 0
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, column in COLUMNS:
            if table not in tables:
                continue
            rows = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
            for (stored,) in rows:
                start, separator, rest = (stored or "").rpartition(folder)
                present = f"{address(artifacts)}/{rest}"
                if separator and stored != present and not start.startswith(("s3:", "http:", "https:")):
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (present, stored))
                    changed += 1
    return changed
