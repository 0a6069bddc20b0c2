"""Ask people for ground truth where it teaches most, and keep what they say.

The review page, the command line and any integration record a label through `record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np

from models import annotation_table
from models.errors import BadInput, NotReady
from models.vocabulary import Label
from pipelines.ledger import inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Inspection, Review, now
from pipelines.workspace import Workspace

SOUGHT = "uncertain and unlike the others"
RANDOM_SHARE = 0.5  # chosen blindly, so that the labels also say how common defects are
LOOK_BACK = 5000  # latest inspections that a campaign chooses from
_EVENTS = UUID("6d5a4a3c-6f55-4d3b-9f0d-4d6f6f7de001")


@dataclass(frozen=True)
class CampaignProgress:
    """Where a campaign stands. `completed_event_id` is set by the label that completed it, and only by that one."""

    campaign_id: int | None
    labelled: int
    wanted: int
    completed_event_id: UUID | None = None


def open_campaign(workspace: Workspace, ledger: Ledger, budget: int, request_id: int | None = None) -> Campaign:
    """Choose up to `budget` parts of recent production that neither the dataset holds nor anybody was asked about.

    Raises NotReady when there is none.
    """
    line = workspace.params().line
    known = set(annotation_table.load(workspace.annotations)["part"].to_pylist())
    known |= reviews.asked_parts(ledger, line)
    recent = {item.part: item for item in inspections.latest(ledger, line, LOOK_BACK) if item.part not in known}
    if not recent:
        raise NotReady(
            f"Line {line} has no inspected part that is not in the dataset yet.",
            next_step="Inspect production: defectloop replay FOLDER",
        )
    return reviews.add_campaign(ledger, line, choose(list(recent.values()), budget), request_id)


def choose(candidates: Sequence[Inspection], budget: int, seed: int = 0) -> list[tuple[Inspection, str]]:
    """Half at random, half where the model knows least; never more than `budget`. Pure.

    What it knows least: scores near one half, spread over the embedding's projection by farthest-point selection (Sener
    and Savarese, Active Learning for CNNs: A Core-Set Approach, 2018), so that near-copies of one part are not all asked.
    """
    if len(candidates) <= budget:
        return [(item, "all there are") for item in candidates]
    order = np.random.default_rng(seed).permutation(len(candidates))
    blind = order[: round(budget * RANDOM_SHARE)]
    rest = order[len(blind) :]
    doubt = np.array([1 - 2 * abs(candidates[number].score - 0.5) for number in rest])
    position = _standardised([_projection(candidates[number]) for number in rest])
    picked = _farthest(position, doubt, budget - len(blind))
    return [(candidates[number], "random") for number in blind] + [
        (candidates[rest[number]], SOUGHT) for number in picked
    ]


def record(
    ledger: Ledger,
    line: str,
    part: str,
    label: str,
    reviewer: str,
    *,
    comment: str | None = None,
) -> CampaignProgress:
    """Keep what `reviewer` says about a part. Belongs to the open campaign that asks about it, if there is one.

    Raises BadInput for an unknown label, an empty reviewer, and a part that was never inspected.
    """
    if label not in set(Label):
        raise BadInput(f"There is no label {label!r}.", next_step=f"Labels: {', '.join(Label)}.")
    if not reviewer.strip():
        raise BadInput(f"The label of part {part} has no reviewer.", next_step="Say who stands behind it.")
    seen = inspections.of_part(ledger, line, part)
    if not seen:
        raise BadInput(
            f"Part {part} was never inspected on line {line}.", next_step="defectloop review lists what waits."
        )
    asked = reviews.open_campaign_of(ledger, line, part)
    review = Review(
        line=line,
        part=part,
        campaign_id=asked.campaign_id if asked else None,
        inspection_id=asked.inspection_id if asked else seen[-1].id,
        label=label,
        reviewer=reviewer.strip(),
        comment=comment,
        reviewed_at=now(),
    )
    labelled, completes = reviews.add_review(ledger, review)
    if asked is None:
        return CampaignProgress(None, 1, 1)
    wanted = reviews.campaign(ledger, asked.campaign_id).wanted
    event = uuid5(_EVENTS, f"{line}/{asked.campaign_id}") if completes else None
    return CampaignProgress(asked.campaign_id, labelled, wanted, event)


def _projection(item: Inspection) -> list[float]:
    return [value for name, value in sorted(item.descriptors.items()) if name.startswith("projection_")]


def _standardised(rows: list[list[float]]) -> np.ndarray:
    table = np.asarray(rows, dtype=np.float64)
    return (table - table.mean(0)) / np.maximum(table.std(0), 1e-9)


def _farthest(position: np.ndarray, weight: np.ndarray, n: int) -> list[int]:
    """Greedy: each next one has the largest weight × distance to those already picked."""
    picked = [int(weight.argmax())]
    distance = np.linalg.norm(position - position[picked[0]], axis=1)
    while len(picked) < n:
        value = (weight + 0.05) * distance
        value[picked] = -1
        picked.append(int(value.argmax()))
        distance = np.minimum(distance, np.linalg.norm(position - position[picked[-1]], axis=1))
    return picked
