"""Export networks to ONNX and assemble the detector's graph. The only module that calls `torch.onnx`."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import TensorProto, compose, helper, numpy_helper

from models.detector import graph_cache, preprocessing, runtime
from models.thresholds.calibration import Calibrator

IR_VERSION = 10
NETWORK = "network_"  # before every name of the network's graph


@dataclass(frozen=True)
class Finish:
    """Values fitted after training that turn the network's outputs into the detector's outputs."""

    calibrator: Calibrator
    usual: np.ndarray  # [h, w], baseline: the mean relevance of good parts
    begins: float  # relevance above the baseline that becomes 0.5 in the heatmap
    centre: np.ndarray  # [d], mean embedding of the training split
    axes: np.ndarray  # [d, k], principal axes scaled to unit variance

    def heatmap(self, relevance: np.ndarray) -> np.ndarray:
        """Return the heatmap [h, w] that the graph computes from `relevance` [h, w].

        It is linear up to 0.5, where regions begin, and then approaches 1 without clipping, so that peaks stay different.
        """
        heat = (relevance - self.usual) / (2 * self.begins)
        return np.maximum(np.minimum(heat, 1 - 0.25 / np.maximum(heat, 0.5)), 0)


def export(
    network: torch.nn.Module, image_size_px: int, outputs: Sequence[str], cache: Path | None = None
) -> onnx.ModelProto:
    """Export the network as a graph from `pixels` [1, 3, side, side] to the named outputs.

    `cache` is a folder for traced graphs without weights. With it, a network of the same architecture is traced once.
    """
    example = torch.zeros(1, 3, image_size_px, image_size_px)

    def trace() -> onnx.ModelProto:
        return _traced(network, example, outputs)

    network.eval()
    with _quiet():
        graph = trace() if cache is None else graph_cache.traced(network, example, outputs, cache, trace)
        program = torch.onnx.ONNXProgram(onnx_ir.from_proto(graph), None)
        program.optimize()
    model = _without_origin(program.model_proto)
    model.ir_version = IR_VERSION
    return model


def _traced(network: torch.nn.Module, example: torch.Tensor, outputs: Sequence[str]) -> onnx.ModelProto:
    program = torch.onnx.export(
        network,
        (example,),
        input_names=[preprocessing.OUTPUT],
        output_names=list(outputs),
        opset_version=preprocessing.OPSET,
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    return _without_origin(program.model_proto)


def _without_origin(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter records about where nodes come from: file paths of this machine."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints, and without deprecations inside it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def with_preprocessing(network: onnx.ModelProto, image_size_px: int) -> onnx.ModelProto:
    """Prepend the preprocessing graph, so that the input is a decoded image. The order of the outputs does not change."""
    first = preprocessing.graph(image_size_px)
    return compose.merge_models(
        compose.add_prefix(first, "in_", rename_inputs=False, rename_outputs=False),
        compose.add_prefix(network, NETWORK, rename_inputs=False),
        io_map=[(preprocessing.OUTPUT, preprocessing.OUTPUT)],
    )


def detector(network: onnx.ModelProto, finish: Finish, metadata: runtime.DetectorMetadata) -> onnx.ModelProto:
    """Return the complete detector: from decoded image to the outputs of `models.detector.runtime`, including metadata.

    `network` takes decoded images and has the outputs described in `models.training.kinds.Network`. If it does not
    distinguish defect types, the score is the probability of the only class.
    """
    last = _finish_graph(network, finish)
    model = compose.merge_models(
        network, last, io_map=[(output.name, f"{_own_name(output)}_in") for output in network.graph.output]
    )
    model.producer_name, model.producer_version = "defectloop", metadata.defectloop_version
    helper.set_model_props(model, {runtime.METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    return model


def _finish_graph(network: onnx.ModelProto, finish: Finish) -> onnx.ModelProto:
    shapes = {_own_name(o): [d.dim_value for d in o.type.tensor_type.shape.dim] for o in network.graph.output}
    score, numbers = calibration_nodes(finish.calibrator)
    constants = {
        **numbers,
        "usual": finish.usual.astype(np.float32),
        "half_scale": np.float32(1 / (2 * finish.begins)),
        "zero": np.float32(0),
        "quarter": np.float32(0.25),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "centre": finish.centre.astype(np.float32),
        "axes": finish.axes.astype(np.float32),
        "last_axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Identity", ["raw_score_in"], ["raw_score"]),
        *score,
        helper.make_node("Sub", ["relevance_in", "usual"], ["unusual"]),
        helper.make_node("Mul", ["unusual", "half_scale"], ["heat"]),
        helper.make_node("Max", ["heat", "half"], ["hot"]),
        helper.make_node("Div", ["quarter", "hot"], ["to_go"]),
        helper.make_node("Sub", ["one", "to_go"], ["bent"]),
        helper.make_node("Min", ["heat", "bent"], ["below_one"]),
        helper.make_node("Max", ["below_one", "zero"], ["heatmap"]),
        helper.make_node("Identity", ["embedding_in"], ["embedding"]),
        helper.make_node("Sub", ["embedding_in", "centre"], ["centred"]),
        helper.make_node("MatMul", ["centred", "axes"], ["projection"]),
    ]
    if "type_logits" in shapes:
        nodes.append(helper.make_node("Sigmoid", ["type_logits_in"], ["class_probabilities"]))
    else:
        nodes.append(helper.make_node("Unsqueeze", ["score", "last_axis"], ["class_probabilities"]))
    if "boxes" in shapes:
        nodes.append(helper.make_node("Identity", ["boxes_in"], ["boxes"]))
    result = {
        "score": [1],
        "raw_score": [1],
        "class_probabilities": shapes.get("type_logits", [1, 1]),
        "heatmap": shapes["relevance"],
        "embedding": shapes["embedding"],
        "projection": [1, finish.axes.shape[1]],
    } | ({"boxes": shapes["boxes"]} if "boxes" in shapes else {})
    graph = helper.make_graph(
        nodes,
        "finish",
        [helper.make_tensor_value_info(f"{name}_in", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in result.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=list(network.opset_import), ir_version=IR_VERSION)


def calibration_nodes(calibrator: Calibrator) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Return the nodes that compute `score` [1] from `raw_score_in` [1], and their constants."""
    if not calibrator.knots:
        numbers = {"slope": np.float32(calibrator.slope), "intercept": np.float32(calibrator.intercept)}
        return [
            helper.make_node("Mul", ["raw_score_in", "slope"], ["sloped"]),
            helper.make_node("Add", ["sloped", "intercept"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
        ], numbers
    # Piecewise linear: the sum over the segments of the distance covered in the segment times its slope.
    raw, probability = np.array(calibrator.knots).T
    widths = np.diff(raw)
    return [
        helper.make_node("Sub", ["raw_score_in", "starts"], ["past"]),
        helper.make_node("Max", ["past", "zero"], ["begun"]),
        helper.make_node("Min", ["begun", "widths"], ["within"]),
        helper.make_node("Mul", ["within", "gains"], ["gained"]),
        helper.make_node("ReduceSum", ["gained"], ["risen"], keepdims=1),
        helper.make_node("Add", ["risen", "lowest"], ["score"]),
    ], {
        "starts": raw[:-1].astype(np.float32),
        "widths": widths.astype(np.float32),
        "gains": (np.diff(probability) / widths).astype(np.float32),
        "lowest": np.float32(probability[0]),
    }


def _own_name(output: onnx.ValueInfoProto) -> str:
    return str(output.name).removeprefix(NETWORK)
