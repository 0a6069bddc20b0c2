"""How often the gate errs, by simulation: equal, better and worse challengers on frozen test parts. Run: python -m
benchmarks.gate

Each part has its own probabilities of pass, review and fail; a version draws one verdict per part. Two versions that draw
from the same probabilities are equal and differ by chance alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import page
from models.metrics import costs, paired_costs
from models.metrics.costs import PartCosts
from models.params import Cost, Promote
from pipelines.promotion import evidence
from pipelines.promotion.evidence import Comparison, Outcome

COST = Cost(escape=10, overkill=1.7, review=1, max_escape_rate=None, confidence=0.95, false_alarm_rate=0.05)
RULES = Promote(
    min_auroc=0,
    max_escape_rate=1,
    max_overkill_rate=1,
    max_changed_verdicts=1,
    max_flipped_verdicts=1,
    min_probability_cheaper=0.95,
    min_parts={"good": 0, "defective": 0},  # type: ignore[arg-type]
)
SIZES = {"30 defective, 60 good": (30, 60), "90 defective, 180 good": (90, 180), "240 defective, 480 good": (240, 480)}
SMALL = (10, 20)  # a slice beside the others
TRIES = 5
F1_DROP = 0.03  # the margin of the former rule
PRICES = np.array([[0.0, COST.review, COST.overkill], [COST.escape, COST.review, 0.0]])  # of good, of defective parts
PROMISED = 0.05


@dataclass(frozen=True)
class Parts:
    """Probabilities [n, 3] of pass, review and fail, by part, and which parts are defective [n]."""

    verdicts: np.ndarray
    defective: np.ndarray

    def improved(self, share: float) -> Parts:
        """Return the parts of a version that judges this share of its uncertain and wrong verdicts right."""
        right = np.where(self.defective[:, None], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
        return Parts((1 - share) * self.verdicts + share * right, self.defective)

    def judged(self, random: np.random.Generator) -> np.ndarray:
        """Draw a verdict for each part [n]: 0 pass, 1 review, 2 fail."""
        return np.minimum((random.random(len(self.defective))[:, None] > self.verdicts.cumsum(axis=1)).sum(axis=1), 2)

    def paid(self, verdicts: np.ndarray) -> PartCosts:
        return PartCosts(PRICES[self.defective.astype(int), verdicts], self.defective)


def parts(n_defective: int, n_good: int, random: np.random.Generator) -> Parts:
    """Draw parts of which 70 % are certain; of the others, defective ones mostly fail and good ones mostly pass."""
    defective = np.arange(n_defective + n_good) < n_defective
    verdicts = np.where(
        defective[:, None], random.dirichlet([0.4, 2, 1.2], len(defective)), random.dirichlet([1, 2, 1], len(defective))
    )
    certain = random.random(len(defective)) < 0.7
    verdicts[certain] = np.where(defective[certain, None], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    return Parts(verdicts, defective)


def ever_promoted(
    size: tuple[int, int], better: float, histories: int, random: np.random.Generator
) -> tuple[float, ...]:
    """Return the shares of histories in which the former and the present rule promote the first of `TRIES` challengers, and
    in which they promote any. `better` is the share of uncertain verdicts that the challengers judge right."""
    former, present = np.zeros((histories, TRIES), bool), np.zeros((histories, TRIES), bool)
    for history in range(histories):
        of = parts(*size, random)
        rival, new = of.paid(of.judged(random)), of.improved(better)
        for number in range(TRIES):
            paid = of.paid(new.judged(random))
            former[history, number] = costs.probability_cheaper(paid, rival, float(of.defective.mean()), number) >= 0.95
            pair = paired_costs.pair(paid, rival, None, COST)
            asked = Comparison("1", pair, {}, {}, number + 1)
            present[history, number] = evidence.better(evidence.ALL, pair, asked, RULES).outcome == Outcome.SHOWN
    return tuple(float(share) for one in (former, present) for share in (one[:, 0].mean(), one.any(axis=1).mean()))


def slice_outcomes(size: tuple[int, int], change: float, trials: int, random: np.random.Generator) -> tuple[float, ...]:
    """Return how often the former rule refuses for this slice, and how often the present one refuses, shows and leaves open.

    `change` > 0: the champion is better by this share of uncertain verdicts; 0: both are equal.
    """
    former, found = 0, []
    for _ in range(trials):
        of = parts(*size, random)
        old, new = of.improved(change).judged(random), of.judged(random)
        former += not _f1(new, of.defective) >= _f1(old, of.defective) - F1_DROP
        pair = paired_costs.pair(of.paid(new), of.paid(old), None, COST)
        found.append(evidence.not_worse("slice", pair, 3, RULES).outcome)
    shares = (found.count(outcome) / trials for outcome in (Outcome.REFUTED, Outcome.SHOWN, Outcome.OPEN))
    return (former / trials, *shares)


def _f1(verdicts: np.ndarray, defective: np.ndarray) -> float:
    failed = verdicts == 2
    both = int((failed & defective).sum())
    return 2 * both / max(int(failed.sum() + defective.sum()), 1)


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{share:.1%}" for share in shares]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    random, promoted, kept = np.random.default_rng(0), [], []
    broken = False
    for name, size in SIZES.items():
        for effect, better in (("equal", 0.0), ("30 % fewer doubtful verdicts", 0.3), ("60 % fewer", 0.6)):
            shares = ever_promoted(size, better, args.histories, random)
            promoted.append([name, effect, *_percent(shares)])
            noise = 3 * (PROMISED * (1 - PROMISED) / args.histories) ** 0.5
            broken |= not better and shares[3] > PROMISED + noise
    for name, size in {"10 defective, 20 good": SMALL, **SIZES}.items():
        for effect, change in (("equal", 0.0), ("champion has 30 % fewer", 0.3), ("champion has 60 % fewer", 0.6)):
            kept.append([name, effect, *_percent(slice_outcomes(size, change, args.histories, random))])
    text = (
        f"Simulation, {args.histories} histories a row. A version draws pass, review or fail for each part from the part's "
        "own probabilities: 70 % of the parts are certain. Costs 10, 1.7 and 1. Former rule: paired bootstrap with "
        "probability 0.95, and F1 of a slice lower by at most 0.03. Present rule: "
        "[0028](decisions/0028-gate-by-evidence.md)."
        "\n\n"
        f"Promoted, by overall costs: the first challenger, and any of {TRIES} on the same test parts against the same "
        "champion. For equal challengers this is an error; promised are at most 5 % for all tries together.\n\n"
        + page.table(["test parts", "challenger", "first, former", "any, former", "first", "any"], promoted)
        + "\n\nOne slice of three, asked whether the challenger is not worse there. For equal challengers a refusal is an "
        "error. Not shown and not refused is “not enough evidence”, which `promote.without_evidence` decides.\n\n"
        + page.table(
            ["slice", "champion", "refused, former", "refused", "shown not worse", "not enough evidence"], kept
        )
    )
    print(text)
    if args.write:
        page.write("The gate's errors", text)
    raise SystemExit(broken)


if __name__ == "__main__":
    main()
