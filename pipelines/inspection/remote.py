"""Inspection by the service at an address, answered in the shape of local inspection. Needs no workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import names
from models.errors import BadInput, DefectloopError
from models.files import read_file, write_whole
from pipelines import part_names
from pipelines.client import Client


def line_of(client: Client, asked: str | None) -> str:
    """Return the line to inspect for: the one asked for, or else the only one of the service. Raises BadInput."""
    if asked:
        return asked
    lines = client.lines()
    if len(lines) != 1:
        raise BadInput(
            f"{client.url} serves {len(lines)} lines{': ' if lines else ''}{', '.join(lines)}.",
            next_step="Choose one with --line NAME.",
        )
    return lines[0]


def inspect_file(
    client: Client,
    line: str,
    path: Path,
    *,
    part: str | None,
    view: str | None,
    part_from: str | None,
    slice: str | None,
    folder: Path | None,
) -> dict[str, Any]:
    """Inspect one file. Returns what `defectloop inspect` prints; the heatmap is downloaded into `folder`, if given."""
    data = read_file(path)
    named = part_names.pattern(part_from, None)
    found = named.find(names.shown(path.as_posix())) if named else None
    answer = client.inspect(
        line,
        data,
        part=part or (found.part if found else None),
        view=view or (found.view if found else None),
        slice=slice,
        file_name=names.shown(path.as_posix()),
    )
    return {
        "image": names.shown(str(path)),
        "part": answer["part"],
        "view": answer["view"],
        "verdict": answer["verdict"],
        "score": round(answer["score"], 4),
        "regions": answer["regions"],
        "heatmap": _heatmap(client, line, answer["inspection"], path.stem, folder),
        "model_version": answer["model_version"],
        "latency_ms": answer["latency_ms"],
        "inspection": answer["inspection"],
    }


def part_verdict(client: Client, line: str, part: str, *, unread: int = 0) -> dict[str, Any]:
    """Return the verdict on a part from all its views, as `defectloop inspect` prints it. A part with `unread` unreadable
    images cannot pass, because these images may show a defect."""
    whole = client.part(line, part)
    return {
        "part": part,
        "verdict": whole["verdict"] if whole["verdict"] == "fail" or not unread else "review",
        "score": None if whole["score"] is None else round(whole["score"], 4),
        "views": len(whole["views"]),
        "unread": unread,
        "inspections": [view["inspection"] for view in whole["views"]],
    }


def _heatmap(client: Client, line: str, number: int, stem: str, folder: Path | None) -> str | None:
    """Download a heatmap. Returns its path, or None without a folder, or where it cannot be had: the verdict counts more."""
    if folder is None:
        return None
    path = folder / f"{names.for_file(f'{names.shown(stem)}-{number}')}.png"
    try:
        write_whole(path, client.heatmap(line, number), durable=False)
    except (DefectloopError, OSError):
        return None
    return names.shown(str(path))
