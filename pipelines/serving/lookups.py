"""What the API reads and declares about one line: inspections, pictures, parts. Blocking."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from models.detector.runtime import Detector
from models.errors import BadInput, NotReady
from models.images import codec
from pipelines.adapters import model_registry
from pipelines.image_files import deleted_images
from pipelines.ledger import completions, inspections
from pipelines.ledger import search as ledger_search
from pipelines.ledger.search import Filters, Found
from pipelines.ledger.tables import Inspection
from pipelines.serving import parts
from pipelines.serving.engine import LineEngine
from pipelines.serving.errors import NotFound
from pipelines.serving.parts import Expected, PartAnswer

_MEDIA_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"BM": "image/bmp",
    b"RIFF": "image/webp",
}


def inspection(engine: LineEngine, number: int) -> Inspection:
    record = inspections.by_number(engine.ledger, engine.line, number)
    if record is None:
        raise NotFound(f"Line {engine.line} has no inspection {number}.")
    return record


def search(engine: LineEngine, filters: Filters, cursor: str | None, limit: int) -> Found:
    return ledger_search.search(engine.ledger, engine.line, filters, cursor, limit)


def image(engine: LineEngine, number: int) -> tuple[bytes, str]:
    """Return the original bytes and their media type."""
    data = deleted_images.read(engine.ledger, engine.images.get, inspection(engine, number).image)
    kind = next((kind for start, kind in _MEDIA_TYPES.items() if data.startswith(start)), "application/octet-stream")
    return data, kind


def heatmap(engine: LineEngine, number: int) -> bytes:
    """Return the picture of an inspection, which the version that gave the verdict draws again."""
    record = inspection(engine, number)
    data = deleted_images.read(engine.ledger, engine.images.get, record.image)
    detector = _detector(engine, record)
    pixels = engine.decode(data).pixels
    return codec.encode_png(codec.overlay(pixels, detector.predict(pixels).heatmap))


def part(engine: LineEngine, name: str) -> PartAnswer:
    """Raises NotFound for a part of which nothing is known."""
    inspected = inspections.of_part(engine.ledger, engine.line, name)
    rejected = inspections.rejections_of_part(engine.ledger, engine.line, name)
    declared = completions.latest(engine.ledger, engine.line, name)
    if not inspected and not rejected and declared is None:
        raise NotFound(f"Line {engine.line} has no part {name}.")
    return parts.of(name, inspected, rejected, declared, engine.rules.views)


def complete(engine: LineEngine, name: str, views: int | list[str] | None) -> PartAnswer:
    expected: Expected = tuple(dict.fromkeys(views)) if isinstance(views, list) else views
    if expected is None:
        expected = engine.rules.views
    stored: list[Any] = [] if expected is None else [expected] if isinstance(expected, int) else list(expected)
    completions.add(engine.ledger, engine.line, name, stored)
    return part(engine, name)


def in_utc(moment: datetime | None) -> datetime | None:
    """Return the time in UTC; one without a zone is UTC. Raises BadInput for a time before year 1 or after 9999 there."""
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise BadInput(
            f"{moment} is outside the calendar.", next_step="Use a time like 2026-11-30T08:15:00Z."
        ) from error


def _detector(engine: LineEngine, record: Inspection) -> Detector:
    state = engine.champions.state
    for judge in (state.champion, state.former, state.challenger):
        if judge and judge.detector.sha256 == record.artefact_sha256:
            return judge.detector
    path = engine.workspace.state / "models" / record.artefact_sha256 / model_registry.FILE
    if not path.is_file() or model_registry.sha256(path) != record.artefact_sha256:
        version = model_registry.version(engine.workspace, engine.line, record.model_version)
        if version.tags.get(model_registry.ARTEFACT) != record.artefact_sha256:
            raise NotReady(
                f"The file of version {record.model_version} is not available.", next_step="defectloop trace"
            )
        path = model_registry.download(engine.workspace, version)
    return Detector(path, threads=1)
