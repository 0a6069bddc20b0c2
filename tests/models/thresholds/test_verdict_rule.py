"""From raw scores of validation parts to verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models import params
from models.detector.runtime import DetectorMetadata
from models.metrics.costs import expected
from models.params import Params
from models.thresholds import verdict_rule

Parts = tuple[np.ndarray, np.ndarray]


def line(**changes: dict) -> Params:
    """params.yaml as it is, with other values in some sections."""
    whole = params.load(Path(__file__).parents[3] / "params.yaml")
    sections = {name: getattr(whole, name).model_copy(update=values) for name, values in changes.items()}
    return whole.model_copy(update=sections)


def parts(seed: int, n: int, share: float) -> Parts:
    """Raw scores and truth of parts that a fair detector ranks: AUROC about 0.92."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < share
    return 2 * truth + random.normal(size=n), truth


@pytest.mark.parametrize("cost", [{"escape": 10, "overkill": 1.7, "review": 1}, {}])
def test_at_one_percent_defective_verdicts_cost_less_than_passing_everything(cost: dict) -> None:
    """Thresholds for the dataset's mix cost several times that."""
    raw, truth = parts(0, 400, 0.34)
    later, defective = parts(1, 200_000, 0.01)
    paid = {}
    for rate in (None, 0.01):
        rule = verdict_rule.fit(raw, truth, 0.5, line(cost=cost), rate)
        paid[rate] = expected(defective, rule.calibrator(later), rule.point, line(cost=cost).cost, 0.01)
    assert paid[0.01].cost_per_part < paid[0.01].cost_if_all_pass
    assert paid[0.01].cost_per_part < paid[None].cost_per_part / 1.2
    assert paid[0.01].review_rate < paid[None].review_rate / 1.5


def test_the_basis_names_the_rate_and_the_datasets_share() -> None:
    raw, truth = parts(0, 200, 0.3)
    rule = verdict_rule.fit(raw, truth, 0.5, line(), 0.01)
    assert rule.defect_rate == 0.01
    assert rule.dataset_defect_rate == truth.mean()
    assert f"shifted from {truth.mean():.2g} defective ones among them to 0.01 on the line" in rule.basis
    assert verdict_rule.assumed_defect_rate(rule, "1 % of the parts are defective") == "1 % of the parts are defective"


def test_without_a_rate_one_line_says_which_share_the_thresholds_assume() -> None:
    raw, truth = parts(0, 200, 0.3)
    rule = verdict_rule.fit(raw, truth, 0.5, line())
    assert rule.defect_rate is None
    assert f"as in the data, {truth.mean():.2g} of the validation parts" in verdict_rule.assumed_defect_rate(
        rule, "as in the data"
    )


def test_no_rate_counts_where_the_validation_split_holds_good_parts_alone() -> None:
    raw = np.random.default_rng(0).normal(size=100)
    rule = verdict_rule.fit(raw, np.zeros(100, bool), 0.5, line(), 0.01)
    assert rule.defect_rate is None
    assert "good parts alone" in verdict_rule.assumed_defect_rate(rule, "1 %")


def test_a_promise_proved_on_parts_that_early_stopping_chose_on_says_so() -> None:
    raw, truth = parts(0, 400, 0.4)
    promise = {"max_escape_rate": 0.1}
    free = verdict_rule.fit(raw, truth, 0.5, line(cost=promise, train={"patience": None}))
    stopped = verdict_rule.fit(raw, truth, 0.5, line(cost=promise, train={"patience": 5}))
    assert "escape rate of at most 0.1" in free.basis
    assert "early stopping" not in free.basis
    assert "early stopping (train.patience) chose the epoch on the same parts" in stopped.basis
    assert "early stopping" not in verdict_rule.fit(raw, truth, 0.5, line(train={"patience": 5})).basis


def test_a_promise_holds_at_the_lines_rate_too() -> None:
    """The escape rate is a share of defective parts: how common they are does not matter to it."""
    raw, truth = parts(0, 2000, 0.4)
    later, defective = parts(1, 100_000, 0.4)
    for rate in (None, 0.01):
        rule = verdict_rule.fit(raw, truth, 0.5, line(cost={"max_escape_rate": 0.05}), rate)
        assert (rule.calibrator(later[defective]) < rule.point.pass_below).mean() <= 0.05


def test_files_made_before_are_read() -> None:
    said = {
        "kind": "classification",
        "line": "widgets",
        "classes": ["defect"],
        "operating_point": {"pass_below": 0.1, "fail_from": 0.4},
        "calibrator": {"slope": 1.0, "intercept": 0.0},
        "heatmap_threshold": 0.5,
        "image_size_px": 64,
        "backbone": "tf_efficientnet_lite0",
        "snapshot": "ab",
        "git_commit": "cd",
        "mlflow_run_id": "ef",
        "params_sha256": "01",
        "defectloop_version": "0.1",
    }
    read = DetectorMetadata.from_json(json.dumps(said))
    assert (read.defect_rate, read.dataset_defect_rate) == (None, None)
    assert DetectorMetadata.from_json(read.to_json()) == read
