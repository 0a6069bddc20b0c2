"""How common defective parts are on the line: what params.yaml says, or what reviews of random parts say."""

from __future__ import annotations

from dataclasses import dataclass

from models.files import read_json
from models.metrics import intervals
from models.metrics.intervals import Interval
from models.vocabulary import Label
from pipelines.ledger import random_reviews
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

FEWEST = 100  # reviewed parts: of fewer, one defective part more or less doubles or halves too much
BLIND = ("random", "all there are")  # reasons of a campaign that say nothing about the part


@dataclass(frozen=True)
class LineDefectRate:
    """`rate` in (0, 1), or None: as in the data. `why` is a sentence about it without its stop."""

    rate: float | None
    why: str
    interval: Interval | None = None  # 95 %, of an estimate


def of_line(workspace: Workspace) -> LineDefectRate:
    """What holds now. Reads the ledger only where params.yaml asks for an estimate."""
    params = workspace.params()
    asked = params.production.defect_rate
    if asked is None:
        return LineDefectRate(
            None, "production.defect_rate is null: defective parts are taken to be as common as in the data"
        )
    if asked != "reviews":
        return LineDefectRate(asked, f"{percent(asked)} of the parts are defective (production.defect_rate)")
    with Ledger.open(workspace.ledger_url) as ledger:
        return estimated(random_reviews.labels(ledger, params.line, BLIND))


def estimated(labels: list[str]) -> LineDefectRate:
    """From the labels of parts chosen at random. Pure.

    The estimate is the middle of what Jeffreys' prior makes of the counts, (defective + ½) / (n + 1): none of 200 does not
    prove that there are none.
    """
    n, defective = len(labels), sum(label == Label.DEFECT for label in labels)
    if n < FEWEST:
        return LineDefectRate(
            None,
            f"only {n} parts chosen at random are reviewed and production.defect_rate: reviews needs {FEWEST}, so defective "
            "parts are taken to be as common as in the data",
        )
    rate, span = (defective + 0.5) / (n + 1), intervals.exact(defective, n)
    return LineDefectRate(
        rate,
        f"{percent(rate)} of the parts are defective, estimated from {defective} defective ones among {n} reviewed at "
        f"random (95 % interval {percent(span.low)} to {percent(span.high)})",
        span,
    )


def outdated(workspace: Workspace) -> bool:
    """Whether the exported file is for another rate than the line's: DVC sees neither the ledger nor, in a workspace with
    an older `dvc.yaml`, the section `production`.

    A rate that the interval of the reviews still holds is not outdated, or every label would make a new version.
    """
    made = workspace.artifacts / "export" / "export.json"
    if not made.exists():
        return False
    used, present = (
        read_json(made, next_step="Make it again: defectloop train").get("line_defect_rate"),
        of_line(workspace),
    )
    if used is None or present.interval is None:
        return bool(used != present.rate)
    return not present.interval.low <= used <= present.interval.high


def percent(share: float) -> str:
    """Two significant digits: 0.0051 is 0.51 %."""
    return f"{100 * share:.2g} %"
