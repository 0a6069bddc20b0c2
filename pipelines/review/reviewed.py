"""Parts that people judged, as deliveries: the bytes from the image store, the label with the name of who gave it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.vocabulary import Split
from pipelines.image_files.image_store import open_store
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ledger import campaigns, inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, Review
from pipelines.review import campaign
from pipelines.workspace import Workspace

SOURCE = "reviews"


def read(workspace: Workspace, ledger: Ledger) -> list[Source]:
    """Every image of every judged part of the line that the dataset lacks, or holds with another label.

    The latest answer about a part counts, whether or not a campaign asked for it. An image that the dataset holds is
    delivered under the name that it has there, so that it is corrected and not refused as a duplicate; a label of a later
    date than the review stays. An image that nobody has labelled since it came is labelled by the review.
    """
    line = workspace.params().line
    judged = [(review, item) for review, item in reviews.latest(ledger, line) if review.label is not None]
    shown = _shown(judged)
    held = _held(workspace, shown)
    reasons = campaigns.reasons(ledger, line)
    store = open_store(workspace.store_url)
    slices = {item.image: item.slice for item in inspections.of_parts(ledger, line, [r.part for r, _ in judged])}
    sources: dict[str, list[Delivery]] = defaultdict(list)
    for image, (review, label) in shown.items():
        row = held.get(image)
        if row is not None and not _changes(row, review, label):
            continue
        sources[row["source"] if row else SOURCE].append(
            Delivery(
                name=row["source_path"] if row else _name(review.part, image),
                read=partial(store.get, image),
                part=row["part"] if row else review.part,
                slice=row["slice"] if row else slices.get(image) or "default",
                label=label,
                split=row["split"] if row else _split(reasons.get(review.part, ())),
                labelled_by=review.reviewer,
                labelled_at=review.reviewed_at.isoformat(timespec="seconds"),
            )
        )
    return [Source(name, deliveries) for name, deliveries in sorted(sources.items())]


def _shown(judged: list[tuple[Review, Inspection]]) -> dict[str, tuple[Review, str]]:
    """What every judged image shows, by SHA-256; where two parts have the same image, what was said last.

    Reviews of earlier versions say it of one image alone: the one that was judged.
    """
    shown: dict[str, tuple[Review, str]] = {}
    for review, item in sorted(judged, key=lambda pair: pair[0].id):
        images = review.images or {item.image: review.label}
        shown |= {image: (review, label) for image, label in images.items()}
    return shown


def _held(workspace: Workspace, images: Collection[str]) -> dict[str, dict[str, Any]]:
    """The dataset's rows of these images."""
    table = annotation_table.load(workspace.annotations)
    names = ["image", "part", "slice", "split", "label", "labelled_at", "source", "source_path"]
    hit = compute.is_in(table["image"], pa.array(list(images), pa.string()))
    return {row["image"]: row for row in table.filter(hit).select(names).to_pylist()}


def _changes(row: dict[str, Any], review: Review, label: str) -> bool:
    """Whether the review says something else than the row, and says it later."""
    later = row["labelled_at"] is None or row["labelled_at"] < review.reviewed_at.isoformat(timespec="seconds")
    return bool(row["label"] != label and (row["label"] is None or later))


def _split(reasons: Collection[str]) -> str | None:
    """Training for a part that was sought out, by a campaign or by a person who judged it unasked; else as the shares are.

    Thresholds, calibration and the drift reference must rest on parts as they come: a validation split of doubtful ones
    would make ordinary production look like drift.
    """
    blind = any(reason != campaign.SOUGHT for reason in reasons)
    return None if blind else Split.TRAIN.value


def _name(part: str, image: str) -> str:
    return part if part.endswith(image[:16]) else f"{part}/{image[:16]}"
