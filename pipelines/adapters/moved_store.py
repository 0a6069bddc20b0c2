"""The tracking store of a workspace that was moved or copied: MLflow keeps absolute paths of its artifacts in it.

In a copy they would lead into the original, and what the copy learns would be written there.
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
    """A folder as MLflow reads it: a file URI where its path holds what would mean something else in an address."""
    path = str(folder)
    return path if quote(path) == path else folder.as_uri()


def follow(database: Path, artifacts: Path) -> int:
    """Let the paths in `database` that end in this store's own folder begin with `artifacts`, where that folder is now;
    returns how many were changed. Other places stay: they were chosen."""
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
