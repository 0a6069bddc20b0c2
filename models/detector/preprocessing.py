"""Preprocessing as an ONNX graph, from decoded image to network input.

Training runs this graph by itself and the exported detector contains it, so training and inspection resize identically.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from models.detector import runtime

OPSET = 18  # the first opset with antialiasing in Resize
OUTPUT = "pixels"


def graph(image_size_px: int) -> onnx.ModelProto:
    """Return the graph from uint16 [1, H, W, C], C 1 or 3, to float32 [1, 3, side, side] in [0, 1]. Antialiased."""
    constants = {
        "white": np.array(65535, dtype=np.float32),
        "three_channels": np.array([1, 3, 1, 1], dtype=np.int64),
        "size": np.array([image_size_px, image_size_px], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", [runtime.INPUT], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node(  # before a grey image is expanded to three channels, which saves two thirds of the work
            "Resize",
            ["channels_first", "", "", "size"],
            ["resized"],
            axes=[2, 3],
            mode="linear",
            antialias=1,
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Div", ["resized", "white"], ["scaled"]),  # last, where the pixels are few
        helper.make_node("Expand", ["scaled", "three_channels"], [OUTPUT]),
    ]
    body = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info(runtime.INPUT, TensorProto.UINT16, [1, "height", "width", "channels"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 3, image_size_px, image_size_px])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def preprocessor(image_size_px: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a thread-safe function from a decoded image to float32 [1, 3, side, side]."""
    session = session_of(graph(image_size_px), threads=1)
    return lambda image: session.run(None, {runtime.INPUT: runtime.as_input(image)})[0]


def session_of(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
