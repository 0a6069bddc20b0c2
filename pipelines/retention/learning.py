"""Images that the dataset has or is still to get."""

from __future__ import annotations

from pipelines.ledger import reviews
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace


def in_dataset(workspace: Workspace) -> set[str]:
    """Return the images of the dataset. A station without the dataset needs no pyarrow, and has none."""
    if not workspace.annotations.exists():
        return set()
    from models.dataset import annotation_table

    return set(annotation_table.load(workspace.annotations)["image"].to_pylist())


def to_learn(workspace: Workspace, ledger: Ledger) -> set[str]:
    """Return the images with a label from a review that the dataset lacks; without a dataset, all with a label."""
    if workspace.annotations.exists():
        from pipelines.review import reviewed

        return reviewed.needed_images(workspace, ledger)
    labelled = ((review, item) for review, item in reviews.latest(ledger, workspace.params().line) if review.label)
    return {image for review, item in labelled for image in (review.images or [item.image])}
