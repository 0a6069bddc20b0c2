"""Publishes the evaluation report of a decided version among the workspace's reports, with the decision in its header."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from models.files import read_json, write_whole
from pipelines.adapters.model_registry import ARTEFACT, ModelVersion
from pipelines.ledger.tables import Promotion
from pipelines.pages import index, page
from pipelines.pages.page import Header
from pipelines.workspace import Workspace

COPIED = (("verdicts.csv", "verdicts.csv"), ("model-card.md", "card.md"))  # files that the report links to


def publish(workspace: Workspace, version: ModelVersion, decision: Promotion) -> None:
    """Copy the report of the last evaluation, if it measured this version, and write the index of all reports.

    The report of an earlier evaluation that was published before gets the new decision.
    """
    out = index.version_page(workspace, version.version)
    made, kept = workspace.artifacts / "evaluate", out.with_suffix(".json")
    html = (made / "report.html").read_text() if (made / "report.html").exists() else ""
    if f"file {version.tags[ARTEFACT][:16]}" in html:
        write_whole(out, html.encode())
        for name, ending in COPIED:
            if (made / name).exists():
                shutil.copyfile(made / name, out.with_name(f"v{version.version}-{ending}"))
    if out.exists():
        facts = _facts(workspace, version, decision)
        write_whole(kept, json.dumps({"facts": facts}, ensure_ascii=False).encode())
    refresh(workspace)


def refresh(workspace: Workspace) -> None:
    """Write the headers of all published reports, whose links depend on the other reports, and the index."""
    for out in (index.folder(workspace) / "versions").glob("v*.html"):
        kept, number = out.with_suffix(".json"), out.stem.removeprefix("v")
        if not kept.exists():
            continue
        facts: Sequence[tuple[str, str]] = [
            (name, text)
            for name, text in read_json(kept, next_step=f"Delete it, then: defectloop promote {number}")["facts"]
        ]
        header = Header(
            workspace.params().line, f"Evaluation of version {number}", facts, index.links(workspace, out, number)
        )
        html = page.with_header(out.read_text(), header)
        write_whole(out, html.replace('href="verdicts.csv"', f'href="v{number}-verdicts.csv"').encode())
    index.write(workspace)


def _facts(workspace: Workspace, version: ModelVersion, decision: Promotion) -> list[tuple[str, str]]:
    tags = version.tags
    return [
        ("version", version.version),
        ("decided", f"{decision.decided_at:%Y-%m-%d %H:%M} UTC"),
        ("costs", page.costs(workspace.params().cost)),
        ("snapshot", f"{tags['snapshot']}, commit {tags['git_commit'][:12]}"),
        ("run", f"{version.mlflow_run_id}, file {tags[ARTEFACT][:16]}"),
        ("gate", f"{index.DECIDED[decision.kind]}: {'; '.join(decision.reasons)}"),
    ]
