from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.images import codec
from models.thresholds.operating_point import reason
from models.vocabulary import OperatingPoint, Verdict
from pipelines.pages.pictures import OUTLINE, outlined
from pipelines.report import verdicts
from pipelines.report.ground_truth import GroundTruth
from pipelines.workspace import Workspace
from tests import pages


def table(**said: object) -> pa.Table:
    row = {"image": "a", "split": "test", "mask": None, "boxes": None} | said
    return pa.Table.from_pylist([row])


def test_ground_truth_is_the_mask_where_there_is_one(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 6:12] = 255
    (tmp_path / "m.png").write_bytes(codec.encode_png(mask))
    found = GroundTruth(table(mask="m.png"), tmp_path).mask("a", 20, 30)
    assert found is not None
    assert np.array_equal(found, mask > 0)


def test_ground_truth_is_the_boxes_where_there_is_no_mask(tmp_path: Path) -> None:
    box = {"x": 6.0, "y": 4.0, "width": 6.0, "height": 5.0, "defect_type": "dent"}
    found = GroundTruth(table(boxes=[box]), tmp_path).mask("a", 20, 30)
    assert found is not None
    assert (found.sum(), found[4:9, 6:12].all()) == (30, True)
    assert GroundTruth(table(), tmp_path).mask("a", 20, 30) is None


def test_an_outline_surrounds_the_defect_and_leaves_it_visible() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:30] = True
    shown = outlined(np.full((20, 30, 1), 100, np.uint8), mask)  # half the mask's size
    red = (shown == OUTLINE).all(axis=2)
    assert not red[5:10, 5:15].any()
    assert red[4, 5:15].all()
    assert red[5:10, 15].all()


POINT = OperatingPoint(pass_below=0.1, fail_from=0.41)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (0.37, "score 0.37 lies between pass below 0.10 and fail from 0.41"),
        (0.05, "score 0.05 lies below 0.10, where parts pass"),
        (0.41, "score 0.41 is at least 0.41, from where on parts fail"),
        (0.0996, "score 0.0996 lies below 0.1000, where parts pass"),  # 0.10 is not below 0.10
    ],
)
def test_the_reason_of_a_verdict_is_one_line(score: float, said: str) -> None:
    assert reason(score, POINT) == said


shares = st.integers(0, 10**6).map(lambda millionths: millionths / 10**6)


@given(shares, shares, shares)
def test_a_reason_never_shows_two_different_numbers_as_one(score: float, one: float, other: float) -> None:
    point = OperatingPoint(min(one, other), max(one, other))
    shown = [float(word) for word in reason(score, point).replace(",", "").split() if word[0].isdigit()]
    if point.verdict(score) is Verdict.REVIEW:
        assert shown[1] <= shown[0] < shown[2]
    elif point.verdict(score) is Verdict.PASS:
        assert shown[0] < shown[1]
    else:
        assert shown[0] >= shown[1]


def test_a_part_of_several_images_has_one_row_and_its_most_suspicious_image_decides() -> None:
    common = {"part": "p1", "slice": "matt", "label": "good", "raw_score": 0.0}
    rows = [common | {"image": "a", "score": 0.05}, common | {"image": "b", "score": 0.5, "label": "defect"}]
    found = verdicts.table(pa.Table.from_pylist(rows), POINT).to_pylist()
    assert [(row["part"], row["images"], row["image"], row["label"], row["verdict"]) for row in found] == [
        ("p1", 2, "b", "defect", "fail")
    ]


@pytest.mark.slow
def test_the_table_of_verdicts_holds_what_the_file_answers(champion_workspace: Workspace) -> None:
    """Recomputed from the sealed file: score, thresholds and verdict of every test part."""
    made = champion_workspace.artifacts / "evaluate"
    table = parquet.read_table(made / "verdicts.parquet").to_pylist()
    detector = Detector(champion_workspace.artifacts / "export" / "detector.onnx")
    held = [
        row
        for row in annotation_table.load(champion_workspace.annotations).to_pylist()
        if row["split"] == "test" and row["label"]
    ]
    answers: dict[str, float] = {}
    for row in held:
        score = detector.predict(codec.read(champion_workspace.data / row["file"])).score
        answers[row["part"]] = max(score, answers.get(row["part"], 0.0))
    assert {row["part"]: row["score"] for row in table} == pytest.approx(answers)
    for row in table:
        assert row["verdict"] == detector.verdict(answers[row["part"]])
        point = OperatingPoint(row["pass_below"], row["fail_from"])
        assert point == detector.metadata.operating_point
        assert row["reason"] == reason(row["score"], point)
    with (made / "verdicts.csv").open() as source:
        assert [row["verdict"] for row in csv.DictReader(source)] == [row["verdict"] for row in table]
    assert pages.faults(made / "report.html") == []
    published = champion_workspace.state / "reports" / "versions" / "v1.html"
    assert pages.faults(published) == []
    assert "promoted: AUROC" in published.read_text()
    page = (made / "report.html").read_text()
    slider = json.loads(page.split('id="parts">')[1].split("</script>")[0])
    assert sorted(score for _, _, score in slider["parts"]) == pytest.approx(sorted(answers.values()), abs=1e-6)
    assert 'href="verdicts.csv"' in page
    assert "With 95 % confidence: escape rate at most" in page
