"""The line's defect rate: stated in params.yaml, or estimated from reviews of random parts."""

from __future__ import annotations

from dataclasses import dataclass

from models.files import read_json
from models.metrics import intervals
from models.metrics.intervals import Interval
from models.vocabulary import Label
from pipelines.ledger import random_reviews
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

FEWEST = 100  # reviewed parts; with fewer, a single defective part changes the estimate too much
BLIND = ("random", "all there are")  # campaign reasons that do not depend on the part's score


@dataclass(frozen=True)
class LineDefectRate:
    """`rate` in (0, 1), or None to use the rate in the data. `why` explains it in a sentence without a full stop."""

    rate: float | None
    why: str
    interval: Interval | None = None  # 95 % interval of an estimate


def of_line(workspace: Workspace) -> LineDefectRate:
    """Return the line's present defect rate. Reads the ledger only if params.yaml asks for an estimate."""
    params = workspace.params()
    asked = params.production.defect_rate
    if asked is None:
        return LineDefectRate(None, "production.defect_rate is null: the defect rate in the data is used")
    if asked != "reviews":
        return LineDefectRate(asked, f"{percent(asked)} of the parts are defective (production.defect_rate)")
    with Ledger.open(workspace.ledger_url) as ledger:
        return estimated(random_reviews.labels(ledger, params.line, BLIND))


def estimated(labels: list[str]) -> LineDefectRate:
    """Estimate the defect rate from the labels of randomly chosen parts. Pure.

    The estimate is the posterior mean under Jeffreys' prior, (defective + ½) / (n + 1), which is not zero even if no
    reviewed part is defective.
    """
    n, defective = len(labels), sum(label == Label.DEFECT for label in labels)
    if n < FEWEST:
        return LineDefectRate(
            None,
            f"only {n} randomly chosen parts are reviewed, but production.defect_rate: reviews needs {FEWEST}, so the "
            "defect rate in the data is used",
        )
    rate, span = (defective + 0.5) / (n + 1), intervals.exact(defective, n)
    return LineDefectRate(
        rate,
        f"{percent(rate)} of the parts are defective, estimated from {defective} defective parts among {n} randomly "
        f"chosen and reviewed parts (95 % interval {percent(span.low)} to {percent(span.high)})",
        span,
    )


def outdated(workspace: Workspace) -> bool:
    """Return whether the exported file was made for another defect rate than the line's present one.

    DVC cannot see this: it does not track the ledger, and an older `dvc.yaml` does not track the section `production`. A
    rate inside the present interval of the reviews is not outdated; otherwise every label would lead to a new version.
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
    """Format a share in percent with two significant digits: 0.0051 is 0.51 %."""
    return f"{100 * share:.2g} %"
