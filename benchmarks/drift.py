"""False alarms, delay and named causes of drift monitoring, on solar cells, beside Evidently's preset with its defaults.

Needs a finished demo (`make demo`): its first version, which has seen monocrystalline cells alone, and its reference.
Streams are drawn with replacement from cells that the version has not learned from.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage, special

from benchmarks import page
from models.detector.runtime import Detector
from models.images import acquisition, codec, descriptors
from pipelines import workspace as workspaces
from pipelines.adapters import model_registry
from pipelines.ingest import elpv
from pipelines.monitoring import alarm_limit, detection, diagnosis, scan, standardised
from pipelines.monitoring.standardised import NOT_DESCRIPTORS, Scale
from pipelines.workspace import Workspace

PER_MONTH = 10_000  # parts of the line; one false alarm a month is promised
WINDOWS = scan.lengths(32, 256)
HISTORY = 2000  # undrifted parts before a change
LONGEST = 512  # parts after a change
DRAWS = 40
REFERENCE = 161  # parts, for the unchanged lines
CHECKED = 400  # parts between two checks
BATCHES = (16, 64)  # shortest and longest batch
NEIGHBOURS = 40  # cells from which a batch is drawn: about one module
PRESET = (128, 64)  # window and step of Evidently's preset

Change = Callable[[np.ndarray], np.ndarray]


def changes() -> dict[str, Change]:
    """Return the changes of the images; none but the first three has the strength that the diagnosis tries."""
    tried = acquisition.changes(colour=False)
    return {
        "brightness −10 %": tried["10 % less light"],
        "brightness −20 %": tried["20 % less light"],
        "light decays to 85 % on one side": tried["light that fades to the right"],
        "moved by 6 px, down and right": lambda image: np.pad(image, ((6, 0), (6, 0), (0, 0)), mode="edge")[:-6, :-6],
        "blur 0.7 px": tried["less focus (blur of 0.7 px)"],
        "noise σ = 2": tried["more noise (σ 2 of 255)"],
        "turned by 90°": lambda image: np.ascontiguousarray(np.rot90(image)),
        "brightness +14 %": lambda image: _pixels(image * 1.14),
        "blur 1.1 px": lambda image: _pixels(ndimage.gaussian_filter(image.astype(np.float32), (1.1, 1.1, 0))),
        "noise σ = 3.5": lambda image: _pixels(image + np.random.default_rng(1).normal(0, 3.5, image.shape)),
        "gamma 1.2": lambda image: _pixels(255 * (image / 255) ** 1.2),
        "turned by 2°": lambda image: _pixels(ndimage.rotate(image, 2, reshape=False, order=1, mode="nearest")),
    }


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Cells:
    """Descriptors [n, d] called `names`: of the reference, of unseen mono cells by change, and of poly cells in order."""

    names: tuple[str, ...]
    reference: np.ndarray
    reference_defective: np.ndarray
    mono: dict[str, np.ndarray]
    mono_defective: np.ndarray
    poly: np.ndarray
    station: dict[str, np.ndarray]  # images of the reference, changed as the diagnosis changes them; "" unchanged


def measured(place: Workspace) -> Cells:
    from pyarrow import parquet

    version = model_registry.version(place, place.params().line, "1")
    detector = Detector(model_registry.download(place, version))
    table = parquet.read_table(model_registry.reference(place, version)).to_pydict()
    names = tuple(name for name in table if name not in NOT_DESCRIPTORS)
    cells = elpv.read(place.params().ingest.split).deliveries
    unseen = [cell for cell in cells if cell.slice == "mono" and cell.split == "test"]
    poly = [cell for cell in cells if cell.slice == "poly"]
    tried = set(np.random.default_rng(0).permutation(table["part"])[:16].tolist())
    shown = [codec.decode(cell.read()) for cell in cells if cell.part in tried]

    def of(images: Sequence[np.ndarray]) -> np.ndarray:
        answers = detector.predict_many(iter(images))
        described = [descriptors.of_inspection(image, answer) for image, answer in zip(images, answers, strict=True)]
        return np.array([[one[name] for name in names] for one in described])

    pixels = [codec.decode(cell.read()) for cell in unseen]
    return Cells(
        names,
        np.column_stack([table[name] for name in names]),
        np.array(table["defective"], bool),
        {"none": of(pixels)} | {name: of([change(image) for image in pixels]) for name, change in changes().items()},
        np.array([cell.label == "defect" for cell in unseen]),
        of([codec.decode(cell.read()) for cell in poly]),
        {"": of(shown)}
        | {
            name: of([np.ascontiguousarray(change(image)) for image in shown])
            for name, change in acquisition.changes(colour=False).items()
        },
    )


@dataclass(frozen=True)
class Watched:
    """A reference with its scale and limits, at the defect rate `rate`."""

    scale: Scale
    limits: alarm_limit.Limits

    @classmethod
    def on(
        cls, names: Sequence[str], reference: np.ndarray, defective: np.ndarray, rate: float | None, seed: int
    ) -> Watched:
        truth: dict[str, Sequence] = {
            "score": reference[:, 0].tolist(),
            "slice": ["all"] * len(reference),
            "defective": defective.tolist(),
        }
        weights = standardised.weights_of(truth, rate)
        groups = defective.astype(int) if rate is not None else np.zeros(len(reference), int)
        slices = np.full(len(reference), None, object)
        return cls(
            standardised.fit(reference, names, slices, weights, groups),
            alarm_limit.limits(reference, names, slices, weights, groups, WINDOWS, PER_MONTH, seed),
        )

    def rows(self, columns: np.ndarray) -> np.ndarray:
        return self.scale.standardise(columns, np.full(len(columns), None, object))

    def alarms(self, columns: np.ndarray) -> int:
        """Return how many drifts begin in a stream that is checked regularly."""
        rows, seen, ongoing, begun = self.rows(columns), 0, None, 0
        for stop in range(CHECKED, len(rows) + 1, CHECKED):
            found = detection.examine(rows[:stop], self.scale, self.limits, WINDOWS, seen, ongoing)
            begun += found.drifted and ongoing is None
            seen, ongoing = stop, found.drift if found.ongoing else None
        return begun

    def delay(self, before: np.ndarray, after: np.ndarray) -> tuple[float, detection.Window | None, np.ndarray]:
        """Return the parts until the alarm (inf: none), the strongest window then, and the standardised stream."""
        rows = self.rows(np.concatenate([before, after]))
        for stop in range(len(before) + scan.EVERY, len(rows) + 1, scan.EVERY):
            found = detection.examine(rows[:stop], self.scale, self.limits, WINDOWS, stop - scan.EVERY)
            if found.drifted:
                return stop - len(before), found.strongest, rows
        return float("inf"), None, rows


def unchanged_lines(cells: Cells, months: int) -> list[list[str]]:
    """Count false alarms on poly cells, which the version has never seen: some are the reference, the others production."""
    streams: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "independent parts": lambda pool, random: random.integers(0, len(pool), PER_MONTH),
        "batches of 16–64 cells of one module": lambda pool, random: _batches(len(pool), random),
        "brightness wanders, AR 0.98 from part to part": lambda pool, random: _wandering(pool[:, 0], 0.98, random),
        "brightness wanders, AR 0.998": lambda pool, random: _wandering(pool[:, 0], 0.998, random),
    }
    rows = []
    for name, stream in streams.items():
        alarms, preset = 0, 0
        for month in range(months):
            random = np.random.default_rng([month, len(name)])
            order = random.permutation(len(cells.poly))
            reference, pool = cells.poly[order[:REFERENCE]], cells.poly[np.sort(order[REFERENCE:])]
            columns = pool[stream(pool, random)]
            watched = Watched.on(cells.names, reference, np.zeros(REFERENCE, bool), None, month)
            alarms += watched.alarms(columns)
            if month < 2:
                preset += _preset_alarms(cells.names, reference, columns[:2000])
        low, high = special.gammaincinv([alarms or 1, alarms + 1], [0.025, 0.975])
        interval = f"{(low if alarms else 0) / months:.1f}–{high / months:.1f}"
        rows.append([name, f"{alarms / months:.2f}", interval, f"{preset * PER_MONTH / 4000:.0f}"])
    return rows


def _batches(n: int, random: np.random.Generator) -> np.ndarray:
    chosen: list[int] = []
    while len(chosen) < PER_MONTH:
        start, length = random.integers(0, n - NEIGHBOURS), random.integers(*BATCHES)
        chosen += (start + random.integers(0, NEIGHBOURS, length)).tolist()
    return np.array(chosen[:PER_MONTH])


def _wandering(brightness: np.ndarray, keeps: float, random: np.random.Generator) -> np.ndarray:
    """Choose parts whose brightness follows a slow random walk for half of its variance."""
    step = random.normal(0, np.sqrt(1 - keeps**2), PER_MONTH)
    level = np.empty(PER_MONTH)
    level[0] = random.normal()
    for at in range(1, PER_MONTH):
        level[at] = keeps * level[at - 1] + step[at]
    rank = special.ndtr(np.sqrt(0.5) * level + np.sqrt(0.5) * random.normal(size=PER_MONTH))
    return np.argsort(brightness)[np.minimum((rank * len(brightness)).astype(int), len(brightness) - 1)]


def _preset_alarms(names: Sequence[str], reference: np.ndarray, columns: np.ndarray) -> int:
    window, step = PRESET
    found = [_preset(names, reference, columns[end - window : end]) for end in range(window, len(columns) + 1, step)]
    return sum(now and not before for now, before in zip(found, [False, *found[:-1]], strict=True))


def _preset(names: Sequence[str], reference: np.ndarray, window: np.ndarray) -> bool:
    """Whether Evidently's preset with its defaults calls the window drifted."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    varying = [at for at in range(len(names)) if len(np.unique(reference[:, at])) > 1]
    chosen = [names[at] for at in varying]
    definition = DataDefinition(numerical_columns=chosen)
    current, before = (
        Dataset.from_pandas(pd.DataFrame(rows[:, varying], columns=chosen), definition) for rows in (window, reference)
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        result = Report([DataDriftPreset(columns=chosen)]).run(current, before).dict()
    share = next(one["value"]["share"] for one in result["metrics"] if "DriftedColumnsCount" in one["config"]["type"])
    return bool(share >= 0.5)


def changed_lines(cells: Cells) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of delays and of causes."""
    plain = Watched.on(cells.names, cells.reference, cells.reference_defective, None, 0)
    rare = Watched.on(cells.names, cells.reference, cells.reference_defective, 0.1, 0)
    good, bad = np.flatnonzero(~cells.mono_defective), np.flatnonzero(cells.mono_defective)

    def at_rate(rate: float, n: int, random: np.random.Generator) -> np.ndarray:
        defective = random.random(n) < rate
        return cells.mono["none"][np.where(defective, random.choice(bad, n), random.choice(good, n))]

    delays, causes = [], []
    streams = {**cells.mono, "other material (poly)": cells.poly, "defect rate × 3 (10 % to 30 %)": None}
    for name, columns in streams.items():
        if name == "none":
            continue
        late, named, preset = [], Counter[str](), 0
        watched = plain if columns is not None else rare
        for draw in range(DRAWS):
            random = np.random.default_rng([draw, 5])
            if columns is None:
                before, after = at_rate(0.1, HISTORY, random), at_rate(0.3, LONGEST, random)
            else:
                unchanged = cells.mono["none"]
                before = unchanged[random.integers(0, len(unchanged), HISTORY)]
                after = columns[random.integers(0, len(columns), LONGEST)]
            parts, window, rows = watched.delay(before, after)
            late.append(parts)
            named[_cause(cells, watched, window, rows) if window else "no alarm"] += 1
            preset += draw < 10 and _preset(cells.names, cells.reference, after[: PRESET[0]])
        median, late_ones = (f"{value:.0f}" for value in np.quantile(late, [0.5, 0.9], method="higher"))
        delays.append([name, median, late_ones, f"{preset} of 10"])
        causes.append([name, *(str(named[cause]) for cause in (*diagnosis.Cause, "no alarm"))])
        print(delays[-1], causes[-1], flush=True)
    return delays, causes


def _cause(cells: Cells, watched: Watched, window: detection.Window, rows: np.ndarray) -> str:
    axes = {name: watched.rows(columns) @ watched.scale.whitening for name, columns in cells.station.items()}
    station = {name: (one - axes[""]).mean(axis=0) for name, one in axes.items() if name}
    of_reference = watched.rows(cells.reference) @ watched.scale.whitening
    toward = of_reference[cells.reference_defective].mean(axis=0) - of_reference[~cells.reference_defective].mean(
        axis=0
    )
    shift = rows[window.start : window.end].mean(axis=0) @ watched.scale.whitening
    return str(diagnosis.diagnose(shift, window.error, station, toward).cause)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(".demo"))
    parser.add_argument("--months", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    cells = measured(workspaces.at(args.workspace))
    delays, causes = changed_lines(cells)
    false_alarms = unchanged_lines(cells, args.months)
    text = (
        f"Solar cells; a line of {PER_MONTH:,} parts a month, to which one false alarm a month is promised; version 1 of "
        f"the demo, {len(cells.reference)} reference parts. Evidently: its preset with its defaults (half of the columns "
        f"drift), on windows of {PRESET[0]} parts.\n\n"
        f"Unchanged production, {args.months} months a row with a reference of {REFERENCE} parts each; Evidently on 4,000 "
        "parts.\n\n"
        + page.table(
            ["production", "false alarms a month", "95 % interval", "Evidently's preset, a month"], false_alarms
        )
        + f"\n\nParts from a change until the alarm, after {HISTORY:,} unchanged parts; {DRAWS} draws.\n\n"
        + page.table(["change", "median", "90 %", "Evidently's preset finds it in one window"], delays)
        + "\n\nThe cause that the alarm names.\n\n"
        + page.table(["change", *diagnosis.Cause, "no alarm"], causes)
    )
    print(text)
    if args.write:
        page.write("Drift", text)


if __name__ == "__main__":
    main()
