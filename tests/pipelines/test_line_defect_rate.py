from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.detector.runtime import Detector
from models.errors import BadParams
from pipelines import line_defect_rate
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions
from pipelines.ledger import campaigns, inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Review
from pipelines.workspace import Workspace
from tests.conftest import LINE, change_params
from tests.pipelines.ledger.test_ledger import inspection


def reviewed(place: Workspace, n: int, defective: int, reason: str) -> None:
    """A campaign of `n` parts chosen for one reason, all judged."""
    with Ledger.open(place.ledger_url) as ledger:
        items = [inspection(f"{reason}/{number}", f"{reason}-{number}", line=LINE) for number in range(n)]
        inspections.add(ledger, items)
        campaign = campaigns.add(ledger, LINE, [(item, reason) for item in items])
        for number, item in enumerate(items):
            campaigns.add_review(
                ledger,
                Review(
                    line=LINE,
                    part=item.part,
                    campaign_id=campaign.id,
                    inspection_id=item.id,
                    label="defect" if number < defective else "good",
                    reviewer="Ada",
                    comment=None,
                    reviewed_at=datetime.now(UTC),
                ),
            )


def test_without_a_rate_defects_are_as_common_as_in_the_data(empty_workspace: Workspace) -> None:
    found = line_defect_rate.of_line(empty_workspace)
    assert found.rate is None
    assert "the defect rate in the data is used" in found.why


def test_a_number_is_the_rate(empty_workspace: Workspace) -> None:
    change_params(empty_workspace, {"production": {"defect_rate": 0.005}})
    found = line_defect_rate.of_line(empty_workspace)
    assert found.rate == 0.005
    assert found.why.startswith("0.5 % of the parts")


@pytest.mark.parametrize("rate", [0, 1, -0.1, "some"])
def test_an_impossible_rate_is_refused(empty_workspace: Workspace, rate: object) -> None:
    change_params(empty_workspace, {"production": {"defect_rate": rate}})
    with pytest.raises(BadParams, match=r"production\.defect_rate"):
        empty_workspace.params()


def test_reviews_of_parts_chosen_at_random_say_how_common_defects_are(empty_workspace: Workspace) -> None:
    change_params(empty_workspace, {"production": {"defect_rate": "reviews"}})
    reviewed(empty_workspace, 150, 3, "random")
    reviewed(empty_workspace, 50, 1, "all there are")
    reviewed(empty_workspace, 150, 80, "uncertain and unlike the others")  # sought out: says nothing about the line
    found = line_defect_rate.of_line(empty_workspace)
    assert found.rate == pytest.approx(4.5 / 201)
    assert found.interval == pytest.approx((0.0055, 0.0504), abs=1e-4)
    assert "4 defective parts among 200 randomly chosen and reviewed parts (95 % interval 0.55 % to 5 %)" in found.why


def test_the_latest_review_of_a_part_counts(empty_workspace: Workspace) -> None:
    change_params(empty_workspace, {"production": {"defect_rate": "reviews"}})
    reviewed(empty_workspace, 100, 2, "random")
    with Ledger.open(empty_workspace.ledger_url) as ledger:
        item = inspections.of_part(ledger, LINE, "random-0")[0]
        again = Review(
            line=LINE,
            part=item.part,
            campaign_id=None,
            inspection_id=item.id,
            label="good",
            reviewer="Grace",
            comment=None,
            reviewed_at=datetime.now(UTC),
        )
        campaigns.add_review(ledger, again)
    assert line_defect_rate.of_line(empty_workspace).rate == pytest.approx(1.5 / 101)


def test_too_few_reviews_fall_back_to_the_data_and_say_so(empty_workspace: Workspace) -> None:
    change_params(empty_workspace, {"production": {"defect_rate": "reviews"}})
    reviewed(empty_workspace, 99, 1, "random")
    found = line_defect_rate.of_line(empty_workspace)
    assert found.rate is None
    assert "only 99 randomly chosen parts are reviewed" in found.why


def test_an_exported_file_is_outdated_once_its_rate_is_not_the_lines(empty_workspace: Workspace) -> None:
    made = empty_workspace.artifacts / "export"
    made.mkdir(parents=True)

    def outdated(used: float | None) -> bool:
        (made / "export.json").write_text(json.dumps({"line_defect_rate": used}))
        return line_defect_rate.outdated(empty_workspace)

    assert not outdated(None)
    assert outdated(0.01)
    change_params(empty_workspace, {"production": {"defect_rate": 0.01}})
    assert outdated(None)
    assert not outdated(0.01)
    change_params(empty_workspace, {"production": {"defect_rate": "reviews"}})
    assert not outdated(None)
    reviewed(empty_workspace, 200, 2, "random")
    assert outdated(None)
    assert not outdated(0.02)
    assert outdated(0.2)


def detector(place: Workspace) -> Detector:
    return Detector(place.artifacts / "export" / "detector.onnx")


@pytest.mark.slow
def test_setting_the_lines_defect_rate_exports_and_evaluates_again_and_trains_nothing(
    champion_root: Path, tmp_path: Path
) -> None:
    own = workspaces.at(shutil.copytree(champion_root, tmp_path / "own"))
    before = detector(own).metadata
    assert before.defect_rate is None
    assert not line_defect_rate.outdated(own)
    change_params(own, {"production": {"defect_rate": 0.01}})
    assert line_defect_rate.outdated(own)
    ran = [name for name in ("train", "export", "evaluate") if dataset_versions.run_stage(own, name)]
    assert ran == ["export", "evaluate"]
    after = detector(own).metadata
    assert not line_defect_rate.outdated(own)
    assert after.defect_rate == 0.01
    assert after.dataset_defect_rate == before.dataset_defect_rate == pytest.approx(1 / 3, abs=0.1)
    assert after.calibrator.slope == before.calibrator.slope
    assert after.calibrator.intercept < before.calibrator.intercept - 3
    assert "0.01 on the line" in after.basis
    made = own.artifacts / "evaluate"
    evaluated = json.loads((made / "evaluation.json").read_text())
    in_the_data, on_the_line = evaluated["expected"]
    assert on_the_line["defect_rate"] == 0.01
    assert on_the_line["cost_per_part"] <= on_the_line["cost_if_all_pass"] < in_the_data["cost_if_all_pass"]
    assert evaluated["on_the_line"]["overall"]["defect_rate"] == 0.01
    for page in ("report.html", "model-card.md"):
        assert "on the line: 1 % defective" in (made / page).read_text()
