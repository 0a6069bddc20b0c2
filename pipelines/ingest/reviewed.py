"""Parts that people judged in a review campaign, as a delivery: the bytes from the image store, the label with its name."""

from __future__ import annotations

from functools import partial

from models.vocabulary import Split
from pipelines.image_store import open_store
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ledger import reviews
from pipelines.ledger.ledger import Ledger
from pipelines.review import campaign
from pipelines.workspace import Workspace


def read(workspace: Workspace, ledger: Ledger, campaign_id: int) -> Source:
    """Every judged part of the campaign, each with its latest label.

    Parts that were sought out are for training alone: thresholds, calibration and the drift reference must rest on parts
    as they come, and a validation split of doubtful ones would make ordinary production look like drift.
    """
    store = open_store(workspace.store_url)
    reasons = reviews.chosen_for(ledger, campaign_id)
    deliveries = [
        Delivery(
            name=item.part,
            read=partial(store.get, item.image),
            part=item.part,
            slice=item.slice or "default",
            label=review.label,
            split=Split.TRAIN.value if reasons.get(item.part) == campaign.SOUGHT else None,
            labelled_by=review.reviewer,
            labelled_at=review.reviewed_at.isoformat(timespec="seconds"),
        )
        for review, item in reviews.of_campaign(ledger, campaign_id)
    ]
    return Source(f"review campaign {campaign_id}", deliveries)
