"""The parts that wait for a person's label, each with its images and the reason for which it is asked about."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pipelines.ledger import campaigns, inspections, part_verdicts, undecided
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection
from pipelines.review import campaign, part_images

BETWEEN_THRESHOLDS = "the score is between the two thresholds"
LONGEST = 1000  # parts with the verdict `review` besides those of campaigns
IN_WORDS = {
    "random": "chosen at random, which also estimates the defect rate",
    campaign.SOUGHT: "the detector is uncertain, and the part is unlike the others that are asked about",
    "all there are": "all recent parts are asked about",
}


@dataclass(frozen=True)
class Question:
    """One part. `images` holds the latest inspection of every view, or of every image if no view is stated."""

    part: str
    reason: str
    campaign_id: int | None
    verdict: str
    score: float
    images: tuple[Inspection, ...]


def waiting(ledger: Ledger, line: str) -> list[Question]:
    """Return the unanswered parts of open campaigns, then the other parts with the verdict `review`, oldest first."""
    asked = {
        one.inspection.part: (one.campaign_id, IN_WORDS.get(one.chosen_for, one.chosen_for))
        for one in campaigns.waiting(ledger, line)
    }
    unclear = {item.part: (None, why_review(item)) for item in undecided.parts(ledger, line, LONGEST).parts}
    chosen: dict[str, tuple[int | None, str]] = {**asked, **unclear}
    of_part: dict[str, list[Inspection]] = defaultdict(list)
    for item in inspections.of_parts(ledger, line, chosen):
        of_part[item.part].append(item)
    questions = []
    for part, (campaign_id, reason) in chosen.items():
        whole = part_verdicts.of(of_part[part])
        images = tuple(part_images.of_inspections(of_part[part]).values())
        questions.append(Question(part, reason, campaign_id, whole.verdict.value, whole.score, images))
    return questions


def why_review(item: Inspection) -> str:
    """Return why an inspection has the verdict `review`: how far its score is from the nearer threshold."""
    if item.pass_below is None or item.fail_from is None:
        return BETWEEN_THRESHOLDS  # of a release that did not store them
    above, below = item.score - item.pass_below, item.fail_from - item.score
    if above < below:
        return f"the score {item.score:.3f} is {above:.3f} above the pass threshold {item.pass_below:.3f}"
    return f"the score {item.score:.3f} is {below:.3f} below the fail threshold {item.fail_from:.3f}"
