"""Review campaigns: choose the parts whose labels are most informative, and end campaigns after a time limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import numpy as np

from models.dataset import annotation_table
from models.errors import NotReady
from models.params import Retrain
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import open_store
from pipelines.ledger import campaigns, inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, Inspection, now
from pipelines.workspace import Workspace

SOUGHT = "uncertain and unlike the others"
RANDOM_SHARE = 0.5  # share of randomly chosen parts, from which the line's defect rate is estimated
LOOK_BACK = 5000  # number of latest inspections that a campaign chooses from


def open_campaign(workspace: Workspace, ledger: Ledger, budget: int, request_id: int | None = None) -> Campaign:
    """Open a campaign about up to `budget` parts of recent production that are neither in the dataset nor answered before.

    Raises NotReady if there are none.
    """
    line = workspace.params().line
    candidates = candidates_of(workspace, ledger)
    judged = {review.part for review, _ in reviews.latest(ledger, line)}
    if judged.issuperset(item.part for item in candidates):
        asked = campaigns.of_request(ledger, request_id) if request_id is not None else None
        if asked is not None:  # another run of the same request has opened a campaign about all of them
            return asked
        raise NotReady(
            f"All inspected parts of line {line} are already in the dataset or reviewed.",
            next_step="Inspect more production: defectloop replay FOLDER",
        )
    return campaigns.add(ledger, line, choose(candidates, budget, judged=judged), request_id)


def candidates_of(workspace: Workspace, ledger: Ledger) -> list[Inspection]:
    """Return one inspection of every part that a campaign may ask about: that of its most suspicious image.

    Parts in the dataset are excluded by part and by image, because the same image may have another name there. Images that
    were deleted under retention are not asked about.
    """
    line = workspace.params().line
    table = annotation_table.load(workspace.annotations)
    images = set(table["image"].to_pylist())
    recent = inspections.latest(ledger, line, LOOK_BACK)
    excluded = set(table["part"].to_pylist()) | {item.part for item in recent if item.image in images}
    excluded |= campaigns.parts_in_question(ledger, line)
    deleted = deleted_images.gone(ledger, open_store(workspace.store_url), [item.image for item in recent])
    suspicious: dict[str, Inspection] = {}
    for item in recent:
        if (
            item.image not in deleted
            and item.part not in excluded
            and (item.part not in suspicious or item.score > suspicious[item.part].score)
        ):
            suspicious[item.part] = item
    return list(suspicious.values())


def end_expired(ledger: Ledger, line: str, rules: Retrain) -> list[Campaign]:
    """End campaigns that have been open for longer than `retrain.campaign_days`; their answers are used.

    Called whenever campaigns are read, so no background process is needed.
    """
    oldest = now() - timedelta(days=rules.campaign_days)
    because = f"it expired after {rules.campaign_days:g} days"
    late = [item for item in campaigns.open_ones(ledger, line) if item.opened_at < oldest]
    return [campaigns.close(ledger, item.id, because=because) for item in late]


def choose(
    candidates: Sequence[Inspection], budget: int, seed: int = 0, *, judged: Collection[str] = ()
) -> list[tuple[Inspection, str]]:
    """Choose at most `budget` candidates, one per part: half at random, half where the model is least certain. Pure.

    `judged` holds parts that people have labelled without a campaign. The random half may contain them, because people label
    doubtful parts, and leaving them out would bias the estimated defect rate.

    Least certain are scores near one half. They are spread over the projected embeddings by farthest-point selection (Sener
    and Savarese, Active Learning for CNNs: A Core-Set Approach, 2018), so that similar parts are not all chosen.
    """
    if len(candidates) <= budget:
        return [(item, "all there are") for item in candidates]
    order = np.random.default_rng(seed).permutation(len(candidates))
    blind = order[: round(budget * RANDOM_SHARE)]
    rest = [number for number in order[len(blind) :] if candidates[number].part not in judged]
    if not rest:
        return [(candidates[number], "random") for number in blind]
    doubt = np.array([1 - 2 * abs(candidates[number].score - 0.5) for number in rest])
    position = _standardised([_projection(candidates[number]) for number in rest])
    picked = _farthest(position, doubt, min(budget - len(blind), len(rest)))
    return [(candidates[number], "random") for number in blind] + [
        (candidates[rest[number]], SOUGHT) for number in picked
    ]


def _projection(item: Inspection) -> list[float]:
    return [value for name, value in sorted(item.descriptors.items()) if name.startswith("projection_")]


def _standardised(rows: list[list[float]]) -> np.ndarray:
    table = np.asarray(rows, dtype=np.float64)
    return (table - table.mean(0)) / np.maximum(table.std(0), 1e-9)


def _farthest(position: np.ndarray, weight: np.ndarray, n: int) -> list[int]:
    """Choose greedily: each next candidate has the largest product of weight and distance to those already chosen."""
    picked = [int(weight.argmax())]
    distance = np.linalg.norm(position - position[picked[0]], axis=1)
    while len(picked) < n:
        value = (weight + 0.05) * distance
        value[picked] = -1
        picked.append(int(value.argmax()))
        distance = np.minimum(distance, np.linalg.norm(position - position[picked[-1]], axis=1))
    return picked
