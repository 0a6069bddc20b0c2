"""Compares two versions on the same test parts: their metrics, and the parts that they judge differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.detector.runtime import Detector
from models.evaluation import evaluation
from models.evaluation.evaluation import Evaluation
from models.files import write_whole
from models.images import codec
from models.metrics import costs
from models.metrics.costs import Expected
from models.vocabulary import Label, Verdict
from pipelines import line_defect_rate
from pipelines.adapters import model_registry
from pipelines.line_defect_rate import percent
from pipelines.pages.pictures import data_uri
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
    probability_second_cheaper: float
    better: int  # images that only the second judges right
    worse: int  # images that only the first judges right
    disagreements: tuple[Disagreement, ...]
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
    page = workspace.artifacts / "compare" / f"{first}-{second}.html"
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
        cost_per_part=(costs.average(paid[0], rate), costs.average(paid[1], rate)),
        probability_second_cheaper=costs.probability_cheaper(paid[1], paid[0], rate),
        better=sum(after and not before for before, after in right),
        worse=sum(before and not after for before, after in right),
        disagreements=differing,
        page=page,
    )
    write_whole(page, _render(workspace, comparison, detectors).encode())
    return comparison


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
                cell(one.overall if name == "all" else one.slices[name], key) for one in comparison.evaluations.values()
            ]
            lines.append(f"{title if name == 'all' else '':<14}{name:<10}{pair[0]:<22}{pair[1]}")
    lines += [f"With {percent(comparison.expected[0].defect_rate)} of the parts defective:"]
    lines += [f"{title:<24}{before:<22}{after}" for title, before, after in expected_rows(comparison.expected)]
    lines += [
        f"v{second} is cheaper with probability {comparison.probability_second_cheaper:.3f}; "
        f"different verdicts on {len(comparison.disagreements)} images: {comparison.better} better, "
        f"{comparison.worse} worse",
        f"Pictures: {comparison.page}",
    ]
    return "\n".join(lines)


def _right(label: str, verdict: str) -> bool:
    return verdict == (Verdict.FAIL if label == Label.DEFECT else Verdict.PASS)


def _render(workspace: Workspace, comparison: Comparison, detectors: Sequence[Detector]) -> str:
    kinds = {
        f"Defective, only v{comparison.versions[1]} fails them": (Label.DEFECT, 1),
        f"Defective, only v{comparison.versions[0]} fails them": (Label.DEFECT, 0),
        f"Good, only v{comparison.versions[1]} passes them": (Label.GOOD, 1),
        f"Good, only v{comparison.versions[0]} passes them": (Label.GOOD, 0),
    }
    gallery = {
        title: [
            _tile(workspace, one, detectors)
            for one in islice(
                (d for d in comparison.disagreements if d.label == label and _right(label, d.verdicts[at])), SHOWN
            )
        ]
        for title, (label, at) in kinds.items()
    }
    environment = Environment(loader=PackageLoader("pipelines", "pages"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("compare.html").render(
        line=workspace.params().line,
        comparison=comparison,
        columns=COLUMNS,
        cell=cell,
        expected=expected_rows(comparison.expected),
        gallery=gallery,
    )


def _tile(workspace: Workspace, one: Disagreement, detectors: Sequence[Detector]) -> dict[str, object]:
    image = codec.read(workspace.data / one.file)
    heat = [codec.overlay(image, detector.predict(image).heatmap) for detector in detectors]
    return {"disagreement": one, "pictures": [data_uri(picture) for picture in (image, *heat)]}
