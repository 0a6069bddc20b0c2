"""A page of the parts that wait for a label, with heatmaps and a form whose answers `defectloop review --from` records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.detector.runtime import Detector
from models.errors import DefectloopError, NotReady
from models.files import write_whole
from models.images import codec
from models.vocabulary import Label
from pipelines.amounts import counted
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import open_store
from pipelines.inspection import champion_on_disk
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, now
from pipelines.review import questions
from pipelines.review.many import CANT_SAY
from pipelines.review.questions import Question
from pipelines.workspace import Workspace

ANSWERS = ((Label.GOOD.value, "good"), (Label.DEFECT.value, "defect"), (CANT_SAY, "can't say"))
TILE_PX = 320


@dataclass(frozen=True)
class Page:
    path: Path
    parts: int


def write(workspace: Workspace, out: Path) -> Page:
    """Write the page to `out`. Raises NotReady if no part waits, or if there is no champion to make heatmaps."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        asked = questions.waiting(ledger, line)
        if not asked:
            raise NotReady("No parts wait for a review.", next_step="Inspect more production: defectloop replay FOLDER")
        champion = champion_on_disk.load(workspace, line)
        detector, store = Detector(champion.path), open_store(workspace.store_url)
        read = partial(deleted_images.read, ledger, store.get)
        parts = [_part(number, one, read, detector) for number, one in enumerate(asked)]
    template = Environment(loader=PackageLoader("pipelines", "pages"), autoescape=True, undefined=StrictUndefined)
    html = template.get_template("review.html").render(
        line=line,
        count=counted(len(asked), "part"),
        made_at=f"{now():%Y-%m-%d %H:%M} UTC",
        version=champion.version,
        answers=ANSWERS,
        page_id=hashlib.sha256("\n".join([line, *(one.part for one in asked)]).encode()).hexdigest()[:16],
        parts=parts,
    )
    write_whole(out, html.encode())
    return Page(out, len(asked))


def _part(number: int, one: Question, read: Callable[[str], bytes], detector: Detector) -> dict[str, Any]:
    return {
        "number": number,
        "name": one.part,
        "verdict": one.verdict,
        "score": f"{one.score:.2f}",
        "campaign": one.campaign_id,
        "reason": one.reason,
        "images": [_image(item, read, detector) for item in one.images],
    }


def _image(item: Inspection, read: Callable[[str], bytes], detector: Detector) -> dict[str, Any]:
    from pipelines.pages.pictures import data_uri

    title = " ".join(text for text in (item.view, item.file_name or f"image {item.image[:16]}") if text)
    shown = {"id": item.image[:16], "title": title, "plain": "", "heat": "", "lost": ""}
    try:
        image = codec.decode(read(item.image))
        heat = codec.overlay(image, detector.predict(image).heatmap)
    except DefectloopError as error:
        return shown | {"lost": error.message}
    return shown | {"plain": data_uri(image, TILE_PX), "heat": data_uri(heat, TILE_PX)}
