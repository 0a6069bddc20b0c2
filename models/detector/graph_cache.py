"""A cache on disk for traced graphs without weights: networks of the same architecture are traced once.

Tracing takes torch most of the time of an export, and its result does not depend on the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from models.code_version import code_version
from models.detector.preprocessing import session_of
from models.files import write_whole

LIBRARIES = ("torch", "timm", "onnx", "onnx-ir", "onnxscript")
FOLDER = "graphs"
MOST = 20  # graphs that are kept, the last ones that were traced
LARGEST_DIFFERENCE = 1e-2  # relative to the largest value; the same weights differ by 1e-5, other weights by far more


def traced(
    network: torch.nn.Module,
    example: torch.Tensor,
    outputs: Sequence[str],
    folder: Path,
    trace: Callable[[], onnx.ModelProto],
) -> onnx.ModelProto:
    """Return the result of `trace`, from `folder` if a network of this architecture was traced before.

    The initialisers of the traced graph have the names of the network's parameters and buffers. A kept graph gets those of
    this network, and is used only if it then answers as the network does.
    """
    weights = dict(network.named_parameters()) | dict(network.named_buffers())
    kept = folder / f"{_architecture(network, weights, example, outputs)}.onnx"
    if kept.exists():
        graph = _read(kept, weights)
        if graph is not None and _answers_alike(graph, network, example):
            return graph
    graph = trace()
    write_whole(kept, _without_weights(graph, weights), durable=False)
    for old in sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime)[:-MOST]:
        old.unlink(missing_ok=True)
    return graph


def _architecture(
    network: torch.nn.Module, weights: dict[str, torch.Tensor], example: torch.Tensor, outputs: Sequence[str]
) -> str:
    """Return a digest of everything but the weights that a graph can depend on."""
    modules = [
        [name, type(module).__module__, type(module).__qualname__, module.extra_repr(), _plain_attributes(module)]
        for name, module in network.named_modules()
    ]
    shapes = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in weights.items()]
    ours = sorted({type(module).__module__ for module in network.modules() if _is_ours(type(module).__module__)})
    code = code_version([*ours, "models.detector.onnx_graphs", __name__], LIBRARIES)
    described = json.dumps([modules, shapes, list(example.shape), list(outputs), code])
    return hashlib.sha256(described.encode()).hexdigest()[:32]


def _plain_attributes(module: torch.nn.Module) -> list[str]:
    kinds = (bool, int, float, str, tuple, list, type(None))
    return [f"{name}={value!r}" for name, value in sorted(vars(module).items()) if isinstance(value, kinds)]


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "models"


def _without_weights(graph: onnx.ModelProto, weights: dict[str, torch.Tensor]) -> bytes:
    """Return the graph in bytes, after their hash."""
    empty = onnx.ModelProto()
    empty.CopyFrom(graph)
    for tensor in empty.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
    content = empty.SerializeToString()
    return hashlib.sha256(content).digest() + content


def _read(path: Path, weights: dict[str, torch.Tensor]) -> onnx.ModelProto | None:
    """Return the kept graph with these weights; None if the file is damaged."""
    written = path.read_bytes()
    digest, content = written[:32], written[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    graph = onnx.load_from_string(content)
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            values = np.ascontiguousarray(weights[tensor.name].detach().cpu().numpy())
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return graph


def _answers_alike(graph: onnx.ModelProto, network: torch.nn.Module, example: torch.Tensor) -> bool:
    pixels = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(pixels)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    (given,) = graph.graph.input
    answers = session_of(graph, threads=1).run(None, {given.name: pixels.numpy()})
    return len(answers) == len(expected) and all(
        answer.shape == tuple(wanted.shape)
        and np.allclose(answer, wanted.numpy(), rtol=0, atol=LARGEST_DIFFERENCE * max(1e-6, float(wanted.abs().max())))
        for answer, wanted in zip(answers, expected, strict=True)
    )
