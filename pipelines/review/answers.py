"""Records people's answers about parts. All user interfaces and integrations use this module."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from models.errors import BadInput
from models.vocabulary import Label
from pipelines.ledger import campaigns, deletions, inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Inspection, Review, now
from pipelines.review import part_images

LIST = "List the waiting parts: defectloop review"


@dataclass(frozen=True)
class CampaignProgress:
    """Progress of the campaign that asks about the part; None if there is none. `ended`: this answer ended the campaign."""

    campaign_id: int | None
    answered: int
    labelled: int
    wanted: int
    ended: bool = False


def record(
    ledger: Ledger,
    line: str,
    part: str,
    label: str,
    reviewer: str,
    *,
    views: Collection[str] | None = None,
    comment: str | None = None,
) -> CampaignProgress:
    """Record a label by `reviewer`. It counts for the open campaign that asks about the part, if there is one.

    Raises BadInput for an unknown label, an empty reviewer, a part that was never inspected, and for a defective part with
    several images if `views` does not name the images that show the defect; also if its images were deleted under retention.
    """
    return _keep(ledger, labelled(ledger, line, part, label, reviewer, views=views, comment=comment))


def cant_say(ledger: Ledger, line: str, part: str, reviewer: str, why: str) -> CampaignProgress:
    """Record that `reviewer` cannot judge the part. It counts as answered, without a label. Raises BadInput."""
    return _keep(ledger, unsure(ledger, line, part, reviewer, why))


def labelled(
    ledger: Ledger,
    line: str,
    part: str,
    label: str,
    reviewer: str,
    *,
    views: Collection[str] | None = None,
    comment: str | None = None,
) -> Review:
    """Return the review that `record` would store. Raises BadInput as `record` does."""
    if label not in set(Label):
        raise BadInput(f"Unknown label {label!r}.", next_step=f"Labels: {', '.join(Label)}.")
    inspected = _inspected(ledger, line, part)
    images = part_images.labelled(inspected, part, label, views)
    deleted = deletions.of_inspections(ledger, inspected)
    if deleted and images.keys() <= deleted.keys():
        raise BadInput(
            f"Part {part} cannot be labelled. {deletions.told(next(iter(deleted.values())))}",
            next_step="To keep images longer, change retention in service.yaml.",
        )
    return _review(ledger, inspected, reviews.LABEL, reviewer, label=label, images=images, comment=comment)


def unsure(ledger: Ledger, line: str, part: str, reviewer: str, why: str) -> Review:
    """Return the review that `cant_say` would store. Raises BadInput as `cant_say` does."""
    if not why.strip():
        raise BadInput(f"--cant-say for part {part} needs a comment with the reason.", next_step='Add --comment "…".')
    return _review(ledger, _inspected(ledger, line, part), reviews.CANT_SAY, reviewer, comment=why.strip())


def skip(ledger: Ledger, line: str, part: str, reviewer: str, comment: str | None = None) -> CampaignProgress:
    """Move the part to the end of the list. Raises BadInput if it is already answered."""
    inspected = _inspected(ledger, line, part)
    if any(review.answer != reviews.SKIP for review in reviews.of_part(ledger, line, inspected[-1].part)):
        raise BadInput(f"Part {part} is already answered and cannot be skipped.", next_step=LIST)
    return _keep(ledger, _review(ledger, inspected, reviews.SKIP, reviewer, comment=comment))


def close_campaign(ledger: Ledger, line: str, campaign_id: int, reviewer: str, why: str) -> Campaign:
    """End a campaign before every part is answered; its answers are used. Raises BadInput if it is not open."""
    opened = [item.id for item in campaigns.open_ones(ledger, line)]
    if campaign_id not in opened:
        open_ones = f"Open campaigns: {', '.join(map(str, opened))}." if opened else "No campaign is open."
        raise BadInput(f"Line {line} has no open campaign {campaign_id}.", next_step=open_ones)
    if not why.strip():
        raise BadInput(
            f"Closing campaign {campaign_id} needs a comment with the reason.", next_step='Add --comment "…".'
        )
    name = _named(reviewer, f"The end of campaign {campaign_id}")
    return campaigns.close(ledger, campaign_id, by=name, because=f"{why.strip()} (closed by {name})")


def _review(
    ledger: Ledger,
    inspected: list[Inspection],
    answer: str,
    reviewer: str,
    *,
    label: str | None = None,
    images: dict[str, str] | None = None,
    comment: str | None = None,
) -> Review:
    latest = inspected[-1]
    name = _named(reviewer, f"The review of part {latest.part}")
    asked = campaigns.open_campaign_of(ledger, latest.line, latest.part)
    return Review(
        line=latest.line,
        part=latest.part,
        campaign_id=asked.campaign_id if asked else None,
        inspection_id=latest.id,
        answer=answer,
        label=label,
        images=images or {},
        reviewer=name,
        comment=comment,
        reviewed_at=now(),
    )


def _keep(ledger: Ledger, review: Review) -> CampaignProgress:
    ended = campaigns.add_review(ledger, review)
    if review.campaign_id is None:
        return CampaignProgress(None, int(review.answer != reviews.SKIP), int(review.label is not None), 1)
    stands = campaigns.progress(ledger, review.campaign_id)
    return CampaignProgress(review.campaign_id, stands.answered, stands.labelled, stands.wanted, ended)


def _inspected(ledger: Ledger, line: str, part: str) -> list[Inspection]:
    """Return the inspections of the part with this id, or of the part whose image has this file name."""
    return inspections.of_part(ledger, line, inspections.part_called(ledger, line, part))


def _named(reviewer: str, what: str) -> str:
    if not reviewer.strip():
        raise BadInput(f"{what} has no reviewer.", next_step='Add --reviewer "…".')
    return reviewer.strip()
