"""Reviewed parts as deliveries: the bytes from the image store, with the label and its reviewer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.vocabulary import Split
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import open_store
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ledger import campaigns, inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, Review
from pipelines.review import campaign
from pipelines.workspace import Workspace

SOURCE = "reviews"


def read(workspace: Workspace, ledger: Ledger) -> list[Source]:
    """Return all images of reviewed parts that the dataset does not contain, or contains with another label.

    The latest answer about a part is used, whether or not a campaign asked for it. An image that the dataset contains is
    delivered under its name there, so that it is corrected and not quarantined as a duplicate. A label that is newer than
    the review is kept. An unlabelled image gets the label of the review.
    """
    line = workspace.params().line
    missing, parts = _missing(workspace, ledger)
    reasons = campaigns.reasons(ledger, line)
    store = open_store(workspace.store_url)
    slices = {item.image: item.slice for item in inspections.of_parts(ledger, line, parts)}
    sources: dict[str, list[Delivery]] = defaultdict(list)
    for image, (review, label, row) in missing.items():
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


def needed_images(workspace: Workspace, ledger: Ledger) -> set[str]:
    """Return the images of reviewed parts that the dataset is still to get, by SHA-256."""
    return set(_missing(workspace, ledger)[0])


def _missing(
    workspace: Workspace, ledger: Ledger
) -> tuple[dict[str, tuple[Review, str, dict[str, Any] | None]], list[str]]:
    """Return the images that the dataset lacks or has with another label, each with its review, label and row there, and all
    labelled parts. Images that were deleted under retention are left out, because they cannot be learned from."""
    judged = [
        (review, item) for review, item in reviews.latest(ledger, workspace.params().line) if review.label is not None
    ]
    shown = _shown(judged)
    held = _held(workspace, shown)
    missing = {
        image: (review, label, held.get(image))
        for image, (review, label) in shown.items()
        if image not in held or _changes(held[image], review, label)
    }
    deleted = deleted_images.gone(ledger, open_store(workspace.store_url), list(missing))
    return {image: one for image, one in missing.items() if image not in deleted}, [review.part for review, _ in judged]


def _shown(judged: list[tuple[Review, Inspection]]) -> dict[str, tuple[Review, str]]:
    """Return review and label of every reviewed image by SHA-256. If two parts share an image, the later review is used.

    Reviews of earlier versions hold a label for one image only.
    """
    shown: dict[str, tuple[Review, str]] = {}
    for review, item in sorted(judged, key=lambda pair: pair[0].id):
        images = review.images or {item.image: review.label}
        shown |= {image: (review, label) for image, label in images.items()}
    return shown


def _held(workspace: Workspace, images: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the dataset's rows of these images."""
    table = annotation_table.load(workspace.annotations)
    names = ["image", "part", "slice", "split", "label", "labelled_at", "source", "source_path"]
    hit = compute.is_in(table["image"], pa.array(list(images), pa.string()))
    return {row["image"]: row for row in table.filter(hit).select(names).to_pylist()}


def _changes(row: dict[str, Any], review: Review, label: str) -> bool:
    """Return whether the review changes the row's label and is newer."""
    later = row["labelled_at"] is None or row["labelled_at"] < review.reviewed_at.isoformat(timespec="seconds")
    return bool(row["label"] != label and (row["label"] is None or later))


def _split(reasons: Collection[str]) -> str | None:
    """Return the training split for a part that was not chosen at random, and None (split by shares) for all others.

    Thresholds, calibration and the drift reference need a representative validation split. If it consisted of doubtful
    parts, ordinary production would look like drift.
    """
    blind = any(reason != campaign.SOUGHT for reason in reasons)
    return None if blind else Split.TRAIN.value


def _name(part: str, image: str) -> str:
    return part if part.endswith(image[:16]) else f"{part}/{image[:16]}"
