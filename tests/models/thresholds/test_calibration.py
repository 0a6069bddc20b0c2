import numpy as np
import pytest

from models.thresholds import calibration


@pytest.fixture
def overconfident() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    logit = random.normal(-1, 2, 4000)
    return 3 * logit + 1, random.random(4000) < 1 / (1 + np.exp(-logit))


def test_overconfident_scores_become_honest(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    raw, truth = overconfident
    calibrator = calibration.fit(raw, truth)
    assert calibrator.slope == pytest.approx(1 / 3, rel=0.1)
    assert calibration.expected_error(calibrator(raw), truth) < 0.03


def test_order_of_parts_is_kept_even_when_the_detector_is_upside_down() -> None:
    raw = np.array([0.0, 1.0, 2.0, 3.0])
    calibrator = calibration.fit(raw, np.array([True, True, False, False]))
    assert np.all(np.diff(calibrator(raw)) > 0)


def test_perfectly_separated_scores_stay_finite() -> None:
    calibrator = calibration.fit(np.array([-50.0, -40.0, 40.0, 50.0]), np.array([False, False, True, True]))
    assert np.isfinite(calibrator.slope)
    assert 0 < calibrator(np.array([-50.0]))[0] < 0.5 < calibrator(np.array([50.0]))[0] < 1


def test_one_class_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="both classes"):
        calibration.fit(np.zeros(3), np.zeros(3, bool))


def test_reliability_diagram_counts_every_part() -> None:
    score = np.linspace(0, 1, 21)
    diagram = calibration.reliability(score, score > 0.5)
    assert sum(entry.n for entry in diagram) == 21


@pytest.fixture
def plateaus() -> tuple[np.ndarray, np.ndarray]:
    """Three groups of parts, each with its own share of defects whatever the score within it: no logistic curve."""
    random = np.random.default_rng(0)
    raw = random.uniform(0, 3, 3000)
    return raw, random.random(3000) < np.array([0.02, 0.75, 0.8])[raw.astype(int)]


def test_scores_that_no_logistic_curve_fits_are_calibrated_by_isotonic_regression(
    plateaus: tuple[np.ndarray, np.ndarray],
) -> None:
    raw, truth = plateaus
    chosen, logistic = calibration.fit(raw, truth), calibration.platt(raw, truth)
    assert chosen.method == "isotonic regression"
    assert calibration.expected_error(chosen(raw), truth) < calibration.expected_error(logistic(raw), truth) / 2


def test_scores_that_a_logistic_curve_fits_keep_it(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    assert calibration.fit(*overconfident).method == "Platt scaling"


def test_isotonic_regression_never_makes_two_scores_one(plateaus: tuple[np.ndarray, np.ndarray]) -> None:
    calibrator = calibration.isotonic(*plateaus)
    assert np.all(np.diff(calibrator(np.linspace(-20, 20, 10_001))) > 0)


def test_the_sealed_graph_calibrates_as_fitted(plateaus: tuple[np.ndarray, np.ndarray]) -> None:
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    from models.detector import onnx_graphs

    calibrator = calibration.isotonic(*plateaus)
    nodes, numbers = onnx_graphs.calibration_nodes(calibrator)
    graph = helper.make_graph(
        nodes,
        "calibration",
        [helper.make_tensor_value_info("raw_score_in", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in ({"zero": np.float32(0)} | numbers).items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = InferenceSession(model.SerializeToString())
    for raw in (-40, -1, 0.5, 1.02, 2.97, 40):
        answered = session.run(None, {"raw_score_in": np.array([raw], np.float32)})[0][0]
        assert answered == pytest.approx(calibrator(np.array([raw]))[0], abs=1e-4)
