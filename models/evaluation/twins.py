"""Test parts with a twin in training (a near duplicate): whether they flatter the metrics. Pure NumPy.

Twins flatter the metrics if a detector answers better on them than on the other test parts, because it saw nearly the same
picture in training. So the metrics are compared with and without them, on the same resamples of parts. Among the remaining
parts, good and defective parts of each slice keep their shares, so that another mix is not mistaken for an effect of twins.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.metrics import verdict_metrics
from models.metrics.intervals import CONFIDENCE
from models.metrics.verdict_metrics import Metrics
from models.vocabulary import Label, OperatingPoint

COMPARED = {"auroc": "AUROC", "f1": "F1"}  # metrics that are higher for better detectors


@dataclass(frozen=True)
class Difference:
    """A metric over all test parts and without the twins. `low` and `high` bound `all_parts - without`: NaN if unknown."""

    all_parts: float
    without: float
    low: float
    high: float

    @property
    def flatters(self) -> bool:
        return self.low > 0  # False for NaN

    @property
    def known(self) -> bool:
        return not math.isnan(self.low)


@dataclass(frozen=True)
class Effect:
    """The effect of the twins among `n` test parts: metrics without them, and the differences by name (`COMPARED`)."""

    n: int
    n_with_twin: int
    without: Metrics
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Twins:
    """The effect over all test parts, and in each slice that has twins.

    `n_sure` counts the test parts whose twin surely is the same photograph. The intervals of all differences hold together
    with 95 % confidence (Bonferroni), so that many slices do not raise a false alarm.
    """

    n_sure: int
    overall: Effect
    slices: dict[str, Effect]

    @property
    def flattering(self) -> list[str]:
        """The metrics that twins raise beyond doubt: "AUROC of poly"."""
        groups = {"": self.overall} | {f" of {name}": effect for name, effect in self.slices.items()}
        return [
            f"{COMPARED[metric]}{of_slice}"
            for of_slice, effect in groups.items()
            for metric, difference in effect.differences.items()
            if difference.flatters
        ]

    @property
    def measured(self) -> bool:
        """Whether the effect is known; false if too few parts are left without them."""
        return any(difference.known for difference in self.overall.differences.values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON: NaN becomes None."""
        return {
            "n_sure": self.n_sure,
            "overall": _effect_to_dict(self.overall),
            "slices": {name: _effect_to_dict(effect) for name, effect in self.slices.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Twins:
        slices = {name: _effect_from_dict(effect) for name, effect in values["slices"].items()}
        return cls(values["n_sure"], _effect_from_dict(values["overall"]), slices)


def measure(
    predictions: pa.Table, with_twin: Collection[str], sure: Collection[str], point: OperatingPoint, bootstrap: int
) -> Twins:
    """Compare the metrics with and without the parts `with_twin`. `predictions` come from `evaluation.predict`.

    `sure` are those of them whose twin surely is the same photograph. `bootstrap` is the number of resamples of parts.
    """
    parts, first, index = np.unique(predictions["part"].to_pylist(), return_index=True, return_inverse=True)
    truth, score = verdict_metrics.by_part(
        np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()], dtype=bool),
        predictions["score"].to_numpy(),
        parts[index],
    )
    slices = np.array(predictions["slice"].to_pylist(), dtype=str)[first]
    twin = np.isin(parts, list(with_twin))
    names = [str(name) for name in np.unique(slices[twin])]
    confidence = 1 - (1 - CONFIDENCE) / (len(COMPARED) * (len(names) + 1))

    def effect(chosen: np.ndarray) -> Effect:
        rest = chosen & ~twin
        share = float(truth[chosen].mean()) if chosen.any() else None
        spans = verdict_metrics.differences(
            truth[chosen],
            score[chosen],
            point,
            kept=~twin[chosen],
            strata=np.unique(np.char.add(slices[chosen], np.where(truth[chosen], "/1", "/0")), return_inverse=True)[1],
            bootstrap=bootstrap,
            confidence=confidence,
        )
        return Effect(
            n=int(chosen.sum()),
            n_with_twin=int((chosen & twin).sum()),
            without=verdict_metrics.measure(
                truth[rest], score[rest], point, groups=parts[rest], bootstrap=bootstrap, defect_rate=share
            ),
            differences={name: Difference(before, after, *span) for name, (before, after, span) in spans.items()},
        )

    everything = np.ones(len(parts), dtype=bool)
    return Twins(len(set(sure)), effect(everything), {name: effect(slices == name) for name in names})


def in_words(twins: Twins) -> str:
    """Describe the effect in one line: how many parts, the metrics with and without them, and what follows."""
    if not twins.overall.n_with_twin:
        return "No test part looks like a training part."
    surely = f", {twins.n_sure} of them surely as the same photograph" if twins.n_sure else ""
    compared = "; ".join(_compared(name, effect) for name, effect in twins.slices.items())
    conclusion = _conclusion(twins)
    return f"{_counted(twins)}{surely}. Without them, {compared}. {conclusion[0].upper()}{conclusion[1:]}."


def headline(twins: Twins) -> str:
    """Describe how many parts are twins, and what follows, without the metrics."""
    if not twins.overall.n_with_twin:
        return "no test part looks like a training part"
    return f"{_counted(twins)}: {_conclusion(twins)}"


def _counted(twins: Twins) -> str:
    return f"{twins.overall.n_with_twin} of {twins.overall.n} test parts look like a training part"


def _compared(name: str, effect: Effect) -> str:
    changes = [
        f"{COMPARED[metric]} {one.without:.3f} instead of {one.all_parts:.3f}{_span(one)}"
        for metric, one in effect.differences.items()
        if not math.isnan(one.without)
    ]
    of_all = f"{name} ({effect.n_with_twin} of {effect.n})"
    return f"{of_all}: {', '.join(changes)}" if changes else f"{of_all}: too few parts are left to compare"


def _span(one: Difference) -> str:
    return f" (difference with them: {one.low:+.3f} to {one.high:+.3f})" if one.known else ""


def _conclusion(twins: Twins) -> str:
    if twins.flattering:
        return f"they flatter the metrics ({', '.join(twins.flattering)})"
    if not twins.measured:
        return "their effect cannot be measured, because too few parts are left without them"
    return "they do not flatter the metrics"


def _effect_to_dict(effect: Effect) -> dict[str, Any]:
    differences = {
        name: {key: None if math.isnan(value) else value for key, value in asdict(one).items()}
        for name, one in effect.differences.items()
    }
    return {
        "n": effect.n,
        "n_with_twin": effect.n_with_twin,
        "without": effect.without.to_dict(),
        "differences": differences,
    }


def _effect_from_dict(values: dict[str, Any]) -> Effect:
    differences = {
        name: Difference(**{key: math.nan if value is None else value for key, value in one.items()})
        for name, one in values["differences"].items()
    }
    return Effect(values["n"], values["n_with_twin"], Metrics.from_dict(values["without"]), differences)
