"""Compares two versions on the same test parts: their metrics, and the parts that they judge differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from models.detector.runtime import Detector
from models.evaluation import evaluation
from models.evaluation.evaluation import Evaluation
from models.files import write_whole
from models.images import codec
from models.metrics import costs
from models.metrics.costs import Expected
from models.vocabulary import Label, Verdict
from pipelines import line_defect_rate, lineage
from pipelines.adapters import model_registry
from pipelines.ledger import shadows
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.shadows import Agreement
from pipelines.ledger.tables import now
from pipelines.line_defect_rate import percent
from pipelines.pages import index, page
from pipelines.pages.page import Header
from pipelines.pages.pictures import data_uri
from pipelines.promotion import changes, published, slice_costs
from pipelines.report.expected import expected_rows
from pipelines.report.page import COLUMNS, cell
from pipelines.training import kept_predictions
from pipelines.workspace import Workspace

SHOWN = 12  # parts that are shown per kind of disagreement


@dataclass(frozen=True)
class Disagreement:
    """A test image on which the verdicts differ."""

    part: str
    slice: str
    label: str
    file: str
    scores: tuple[float, float]
    verdicts: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """`evaluations` by version, in the given order, at the data's defect rate. `expected` has the same order and uses the
    line's defect rate if it is known. Costs are average costs per part, from the section `cost` of params.yaml."""

    versions: tuple[str, str]
    evaluations: dict[str, Evaluation]
    expected: tuple[Expected, Expected]
    cost_per_part: tuple[float, float]
    cost_by_slice: tuple[dict[str, float], dict[str, float]]
    probability_second_cheaper: float
    better: int  # images that only the second judges right
    worse: int  # images that only the first judges right
    disagreements: tuple[Disagreement, ...]
    in_production: tuple[Agreement, ...]  # where one of them was in the shadow of the other
    page: Path


def compare(workspace: Workspace, first: str, second: str) -> Comparison:
    """Compare both versions on the test parts of the present snapshot. Raises NotReady for an unknown version."""
    params = workspace.params()
    chosen = [model_registry.version(workspace, params.line, number) for number in (first, second)]
    detectors = [Detector(model_registry.download(workspace, version)) for version in chosen]
    answers = [kept_predictions.predictions(workspace, version) for version in chosen]
    points = [detector.metadata.operating_point for detector in detectors]
    rate = line_defect_rate.of_line(workspace).rate
    parts = [evaluation.of_parts(table) for table in answers]
    paid = [costs.of_parts(*of, point, params.cost) for of, point in zip(parts, points, strict=True)]
    mix = float(parts[0][0].mean()) if rate is None else rate
    differing = disagreements(*answers)
    right = [(_right(one.label, one.verdicts[0]), _right(one.label, one.verdicts[1])) for one in differing]
    written = index.comparison_page(workspace, first, second)
    comparison = Comparison(
        versions=(first, second),
        evaluations={
            number: evaluation.summarise(table, point, params.evaluate.bootstrap)
            for number, table, point in zip((first, second), answers, points, strict=True)
        },
        expected=(
            costs.expected(*parts[0], points[0], params.cost, mix),
            costs.expected(*parts[1], points[1], params.cost, mix),
        ),
        cost_by_slice=(
            slice_costs.by_slice(answers[0], points[0], params.cost, rate),
            slice_costs.by_slice(answers[1], points[1], params.cost, rate),
        ),
        cost_per_part=(costs.average(paid[0], rate), costs.average(paid[1], rate)),
        probability_second_cheaper=costs.probability_cheaper(paid[1], paid[0], rate),
        better=sum(after and not before for before, after in right),
        worse=sum(before and not after for before, after in right),
        disagreements=differing,
        in_production=_in_production(workspace, params.line, {first, second}),
        page=written,
    )
    write_whole(written, _render(workspace, comparison, detectors).encode())
    published.refresh(workspace)
    return comparison


def _in_production(workspace: Workspace, line: str, versions: set[str]) -> tuple[Agreement, ...]:
    with Ledger.open(workspace.ledger_url) as ledger:
        pairs = shadows.agreements(ledger, line)
    return tuple(pair for pair in pairs if {pair.champion, pair.challenger} == versions)


def disagreements(first: pa.Table, second: pa.Table) -> tuple[Disagreement, ...]:
    """Return the images with different verdicts, largest score differences first. Both tables hold the same images."""
    other = {row["image"]: row for row in second.to_pylist()}
    differing = [
        Disagreement(
            part=row["part"],
            slice=row["slice"],
            label=row["label"],
            file=row["file"],
            scores=(row["score"], other[row["image"]]["score"]),
            verdicts=(row["verdict"], other[row["image"]]["verdict"]),
        )
        for row in first.to_pylist()
        if row["verdict"] != other[row["image"]]["verdict"]
    ]
    return tuple(sorted(differing, key=lambda one: -abs(one.scores[1] - one.scores[0])))


def text(comparison: Comparison) -> str:
    """Format for a terminal."""
    first, second = comparison.versions
    names = ["all", *(name for name in comparison.evaluations[first].slices)]
    lines = [f"{'':<14}{'slice':<10}{'v' + first:<22}{'v' + second}"]
    for key, title in COLUMNS:
        for name in names:
            pair = [
                cell(one.overall if name == "all" else one.slices[name], key)
                for one in (comparison.evaluations[number] for number in comparison.versions)
            ]
            lines.append(f"{title if name == 'all' else '':<14}{name:<10}{pair[0]:<22}{pair[1]}")
    lines += [f"With {percent(comparison.expected[0].defect_rate)} of the parts defective:"]
    lines += [f"{title:<33}{before:<32}{after}" for title, before, after in expected_rows(comparison.expected)]
    lines += [
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in changes_in_words(comparison)),
        f"v{second} is cheaper with probability {comparison.probability_second_cheaper:.3f}; "
        f"different verdicts on {len(comparison.disagreements)} images: {comparison.better} better, "
        f"{comparison.worse} worse",
        f"Pictures: {comparison.page}",
    ]
    return "\n".join(lines)


def _right(label: str, verdict: str) -> bool:
    return verdict == (Verdict.FAIL if label == Label.DEFECT else Verdict.PASS)


def deltas(comparison: Comparison) -> list[tuple[str, str, str, str, str, str]]:
    """Return (slice, metric, before, after, change, "better" | "worse" | "") for all parts and each slice."""
    first, second = (comparison.evaluations[number] for number in comparison.versions)
    rows = []
    for name in ("all", *first.slices):
        old, new = ((one.overall if name == "all" else one.slices[name]) for one in (first, second))
        for key, title in COLUMNS:
            change = getattr(new, key) - getattr(old, key)
            if math.isnan(change):
                continue
            lower_is_better = key.endswith("_rate")
            effect = "" if round(change, 3) == 0 else "better" if (change < 0) == lower_is_better else "worse"
            rows.append((name, title, cell(old, key), cell(new, key), f"{change:+.3f}", effect))
    return rows


def changes_in_words(comparison: Comparison) -> list[str]:
    """Return what changes from the first version to the second: on test parts for each slice, and in production."""
    first, second = (comparison.evaluations[number] for number in comparison.versions)
    in_production = [str(agreement) for agreement in comparison.in_production]
    return changes.in_words(first, second, *comparison.cost_by_slice) + in_production


def _render(workspace: Workspace, comparison: Comparison, detectors: Sequence[Detector]) -> str:
    params = workspace.params()
    first, second = comparison.versions
    kinds = (
        (f"Better: defective, only version {second} fails them", "better", Label.DEFECT, 1),
        (f"Worse: defective, only version {first} fails them", "worse", Label.DEFECT, 0),
        (f"Better: good, only version {second} passes them", "better", Label.GOOD, 1),
        (f"Worse: good, only version {first} passes them", "worse", Label.GOOD, 0),
    )
    gallery = []
    for title, effect, label, at in kinds:
        chosen = [one for one in comparison.disagreements if one.label == label and _right(label, one.verdicts[at])]
        tiles = [_tile(workspace, one, detectors) for one in chosen[:SHOWN]]
        gallery.append((title, effect, tiles, len(chosen)))
    return page.render(
        "pipelines.pages",
        "compare.html",
        Header(
            params.line,
            f"Version {first} and version {second} compared",
            facts=[
                ("snapshot of the test parts", lineage.data_hash(workspace)[:12]),
                ("costs", page.costs(params.cost)),
                ("compared", f"{now():%Y-%m-%d %H:%M} UTC"),
            ],
            links=index.links(workspace, comparison.page),
        ),
        comparison=comparison,
        verdict=_verdict(comparison),
        changes=changes_in_words(comparison),
        deltas=deltas(comparison),
        expected=expected_rows(comparison.expected),
        gallery=gallery,
    )


def _verdict(comparison: Comparison) -> str:
    before, after = comparison.cost_per_part
    return (
        f"Version {comparison.versions[1]} is cheaper with probability {comparison.probability_second_cheaper:.3f}: "
        f"{after:.3g} per part instead of {before:.3g}."
    )


def _tile(workspace: Workspace, one: Disagreement, detectors: Sequence[Detector]) -> dict[str, object]:
    image = codec.read(workspace.data / one.file)
    heat = [codec.overlay(image, detector.predict(image).heatmap) for detector in detectors]
    return {"disagreement": one, "pictures": [data_uri(picture) for picture in (image, *heat)]}
