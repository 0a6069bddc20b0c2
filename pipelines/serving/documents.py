"""The JSON documents of the API. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from pipelines.ledger.tables import Inspection
from pipelines.serving.parts import PartAnswer


def line_url(line: str) -> str:
    return f"/v1/lines/{quote(line, safe='')}"


def inspection(record: Inspection, *, repeated: bool | None = None) -> dict[str, Any]:
    """Return an inspection as the API answers it. `repeated`: whether the request had been answered before."""
    base = line_url(record.line)
    own = f"{base}/inspections/{record.id}"
    document = {
        "inspection": record.id,
        "line": record.line,
        "part": record.part,
        "view": record.view,
        "slice": record.slice,
        "verdict": record.verdict,
        "score": record.score,
        "class_probabilities": record.class_probabilities,
        "regions": record.regions,
        "model_version": record.model_version,
        "image": record.image,
        "file_name": record.file_name,
        "captured_at": _moment(record.captured_at),
        "inspected_at": _moment(record.inspected_at),
        "latency_ms": record.latency_ms,
        "links": {
            "self": own,
            "heatmap": f"{own}/heatmap.png",
            "image": f"{own}/image",
            "part": f"{base}/parts/{quote(record.part, safe='')}",
        },
    }
    return document if repeated is None else document | {"repeated": repeated}


def part(line: str, answer: PartAnswer) -> dict[str, Any]:
    return {
        "line": line,
        "part": answer.part,
        "verdict": answer.verdict,
        "score": answer.score,
        "complete": answer.complete,
        "missing": answer.missing,
        "unreadable": answer.unreadable,
        "views": [
            {"view": view.view, "inspection": view.id, "verdict": view.verdict, "score": view.score}
            for view in answer.views
        ],
    }


def _moment(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
