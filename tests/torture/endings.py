"""What a command came to, in a form in which two runs can be compared: no times, no ids that are the machine's."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.dataset import annotation_table
from models.files import PARTIAL
from pipelines.adapters import git
from pipelines.image_files import quarantine
from pipelines.snapshot_tags import snapshots
from pipelines.workspace import Workspace
from tests.conftest import LINE
from tests.torture.commands import OUT, place

Ending = dict[str, Any]
WHEN = re.compile(r"\d{8}T\d{6}\.\d+Z")  # in names of Great Expectations' pages
MOMENTS = ("labelled_at", "accepted_at")
# Of the ledger: when, how fast, under which name. `request_id` of an inspection is made for each typed command.
VOLATILE = {"happened_at", "sent_at", "flow_run_id", "event_id", "report", "latency_ms", "artefact_sha256"}


def write(path: Path) -> int:
    """The ending of the present directory, as JSON."""
    path.write_text(json.dumps(ending(), default=str, indent=1))
    return 0


def ending() -> Ending:
    result: Ending = {"handed over": _files(Path(OUT))}
    line = place()
    if not (line.root / "params.yaml").exists():
        return result
    result |= {
        "params": (line.root / "params.yaml").read_text(),
        "annotations": _annotations(line.annotations),
        "data": _files(line.data),
        "quarantine": sorted(f"{entry.path}: {entry.reason}" for entry in quarantine.entries(line)),
        "quarantine files": _files(line.quarantine),
        "artifacts": [name for name in _files(line.artifacts) if not name.endswith(PARTIAL)],  # harmless there
    }
    if (line.root / ".git" / "HEAD").exists():
        result |= _versions(line)
    if (line.state / "ledger.db").exists():
        result |= _ledger(line)
    if (line.state / "mlflow.db").exists():
        result |= _registry(line)
    copy = line.state / "automation" / LINE
    if copy.exists():
        result["learned"] = _annotations(copy / "data" / "annotations.parquet")
    return result


def differences(first: Ending, second: Ending) -> list[str]:
    """In words, of the first to the second; nothing where they are equal."""
    return list(_differences(first, second, ""))


def _differences(first: Any, second: Any, where: str) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted(first.keys() | second.keys()):
            yield from _differences(first.get(name), second.get(name), f"{where}/{name}")
    elif isinstance(first, list) and isinstance(second, list):
        texts = [Counter(json.dumps(item, sort_keys=True) for item in items) for items in (first, second)]
        yield from (f"{where}: lacks {text[:200]}" for text in (texts[0] - texts[1]).elements())
        yield from (f"{where}: too much {text[:200]}" for text in (texts[1] - texts[0]).elements())
    elif first != second:
        yield f"{where}: {second!r:.200} instead of {first!r:.200}"


def _annotations(path: Path) -> list[dict]:
    rows = annotation_table.load(path).drop_columns(list(MOMENTS)).to_pylist()
    return json.loads(json.dumps(rows, default=str))


def _files(folder: Path) -> list[str]:
    return sorted(
        WHEN.sub("TIME", os.path.relpath(Path(root, name), folder))
        for root, _, names in os.walk(folder)
        for name in names
        if name != ".stage.lock"
    )


def _versions(line: Workspace) -> Ending:
    head = git.run(line.root, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
    return {
        "committed": git.run(line.root, "ls-tree", "-r", "--name-only", "HEAD").splitlines() if head else [],
        "commits": git.run(line.root, "log", "--format=%s", "HEAD").splitlines() if head else [],
        "uncommitted": git.run(line.root, "status", "--porcelain").splitlines(),
        "branches": git.run(line.root, "branch", "--format=%(refname:short)").splitlines(),
        "unfinished": git.unfinished(line.root),
        "snapshots": [(taken.number, taken.n_images) for taken in snapshots(line)],
        "dvc": (line.root / ".dvc" / "config").read_text() if (line.root / ".dvc" / "config").exists() else None,
    }


def _ledger(line: Workspace) -> Ending:
    from sqlalchemy import select

    from pipelines.ledger.ledger import Ledger
    from pipelines.ledger.tables import Record

    result: Ending = {}
    with Ledger.open(line.ledger_url) as ledger, ledger.reading() as session:
        for kind in Record.__subclasses__():
            table = kind.__table__
            kept = [column for column in table.columns if not _is_volatile(column)]
            rows = [dict(zip([c.name for c in kept], row, strict=True)) for row in session.execute(select(*kept))]
            result[f"ledger {table.name}"] = json.loads(json.dumps([_without_chance(row) for row in rows], default=str))
    for name in ("inspections", "rejections"):  # typed again, `inspect` asks anew; the verdict must be the same
        rows = [row | {"request_id": None} for row in result[f"ledger {name}"] if row["source"] == "command line"]
        rest = [row for row in result[f"ledger {name}"] if row["source"] != "command line"]
        result[f"ledger {name}"] = [*rest, *(json.loads(text) for text in sorted({json.dumps(row) for row in rows}))]
    return result


def _is_volatile(column: Any) -> bool:
    return column.name in VOLATILE or column.name.endswith("_at") or (column.name == "id" and not column.foreign_keys)


def _without_chance(row: dict[str, Any]) -> dict[str, Any]:
    """Times in texts, and what a second training of the same data may round otherwise."""
    return {name: value for name, value in row.items() if name not in ("numbers",)}


def _registry(line: Workspace) -> Ending:
    from pipelines.adapters import model_registry, tracking

    mlflow = tracking.client(line)
    experiment = mlflow.get_experiment_by_name(LINE)
    runs = mlflow.search_runs([experiment.experiment_id]) if experiment else []
    return {
        "runs": [
            {
                "status": run.info.status,
                "metrics": {name: round(value, 4) for name, value in run.data.metrics.items()},
                "artifacts": sorted(item.path for item in mlflow.list_artifacts(run.info.run_id)),
            }
            for run in runs
        ],
        "versions": [
            {
                "version": version.version,
                "aliases": version.aliases,
                "gate": version.tags.get("gate"),
                "withdrawn": "withdrawn" in version.tags,
                "files": sorted(
                    item.path for item in mlflow.list_logged_model_artifacts(version.source.split("/")[-1])
                ),
            }
            for version in model_registry.versions(line, LINE)
        ],
    }
