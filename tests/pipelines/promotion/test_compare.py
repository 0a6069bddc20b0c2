from __future__ import annotations

import json

import pyarrow as pa
import pytest

from models.errors import NotReady
from pipelines.adapters import model_registry
from pipelines.promotion import compare
from pipelines.training import register
from pipelines.workspace import Workspace
from tests import pages
from tests.conftest import LINE


def answers(*scores: float) -> pa.Table:
    """Three parts of the line, two of them defective; from 0.5 on they fail."""
    parts = [("a", "good"), ("b", "defect"), ("c", "defect")]
    return pa.Table.from_pylist(
        [
            {
                "image": part,
                "part": part,
                "slice": "matt",
                "label": label,
                "file": f"{part}.png",
                "score": score,
                "verdict": "fail" if score >= 0.5 else "pass",
            }
            for (part, label), score in zip(parts, scores, strict=True)
        ]
    )


def test_what_two_versions_judge_differently_comes_with_the_largest_difference_first() -> None:
    found = compare.disagreements(answers(0.6, 0.1, 0.9), answers(0.4, 0.9, 0.9))
    assert [(one.part, one.verdicts) for one in found] == [("b", ("pass", "fail")), ("a", ("fail", "pass"))]


def lenient_version(place: Workspace) -> str:
    """The champion with thresholds so high that every part passes."""
    import onnx
    from onnx import helper

    from models.detector.runtime import METADATA_KEY

    path = place.artifacts / "export" / "detector.onnx"
    model = onnx.load(path)
    said = json.loads(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))
    said["operating_point"] = {"pass_below": 1.0, "fail_from": 1.0}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(said)})
    onnx.save(model, path)
    return register.register(place).version


@pytest.mark.slow
def test_two_versions_are_compared_on_the_same_parts_and_the_page_shows_what_differs(
    own_champion: Workspace,
) -> None:
    second = lenient_version(own_champion)
    found = compare.compare(own_champion, "1", second)
    assert found.evaluations["1"].overall.n == found.evaluations[second].overall.n
    assert found.evaluations[second].overall.escape_rate == 1
    caught = sum(one.label == "defect" and one.verdicts == ("fail", "pass") for one in found.disagreements)
    assert caught > 0
    assert found.worse == caught
    assert found.probability_second_cheaper < 0.5
    page = found.page.read_text()
    assert page.count("data:image/jpeg") >= 3 * min(caught, compare.SHOWN)
    assert f"{min(caught, compare.SHOWN)} of {caught} images" in page
    assert pages.faults(found.page) == []
    assert ("all", "escape rate", "worse") in {
        (name, title, effect) for name, title, *_, effect in compare.deltas(found)
    }
    assert "more of " in page
    assert " defective parts pass (" in page
    assert found.page.name in (own_champion.state / "reports" / "index.html").read_text()
    assert f"v{second}" in compare.text(found)


@pytest.mark.slow
def test_a_version_that_does_not_exist_is_named(own_champion: Workspace) -> None:
    with pytest.raises(NotReady, match="no version 9"):
        compare.compare(own_champion, "1", "9")


@pytest.mark.slow
def test_a_version_carries_its_model_card(own_champion: Workspace) -> None:
    card = (own_champion.artifacts / "evaluate" / "model-card.md").read_text()
    version = model_registry.version(own_champion, LINE, "1")
    assert version.tags[model_registry.ARTEFACT] in card
    assert "| test | defect |" in card
    assert "mirrored left to right" in card
    assert "Platt scaling on 9 validation parts; costs of 10 for an escape" in card
    assert version.description == card
