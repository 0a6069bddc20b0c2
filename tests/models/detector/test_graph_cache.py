"""A graph that was traced before answers exactly as one that is traced anew, or is not used."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from models.detector import graph_cache, onnx_graphs
from models.detector.preprocessing import session_of

SIDE = 8
PIXELS = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)


class Small(torch.nn.Module):
    """`factor` is a constant of the graph; `hidden` holds another one, where no key of a cache finds it."""

    def __init__(self, seed: int, factor: float = 2.0, hidden: float = 3.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convolution, self.normal = torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4)
        torch.nn.init.normal_(self.normal.weight)
        self.register_buffer("shift", torch.rand(4, 1, 1), persistent=False)
        self.factor, self.hidden = factor, SimpleNamespace(factor=hidden)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self.normal(self.convolution(pixels)) + self.shift
        return maps.mean((2, 3)) * self.factor * self.hidden.factor


class Tracer:
    """Answers by `traced`, and counts how often torch had to trace."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0

    def answer(self, network: Small) -> np.ndarray:
        example = torch.zeros(1, 3, SIDE, SIDE)

        def trace() -> onnx.ModelProto:
            self.times += 1
            return onnx_graphs._traced(network, example, ("means",))

        graph = graph_cache.traced(network.eval(), example, ("means",), self.folder, trace)
        return session_of(graph, threads=1).run(None, {"pixels": PIXELS})[0]


@pytest.mark.slow
class TestKept:
    @pytest.fixture(scope="class")
    def first_kept(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
        """A folder with the graph of `Small(1)`, and what that answers."""
        folder = tmp_path_factory.mktemp("kept")
        return folder, Tracer(folder).answer(Small(1))

    @pytest.fixture
    def first(self, first_kept: tuple[Path, np.ndarray]) -> np.ndarray:
        return first_kept[1]

    @pytest.fixture
    def tracer(self, tmp_path: Path, first_kept: tuple[Path, np.ndarray]) -> Tracer:
        return Tracer(Path(shutil.copytree(first_kept[0], tmp_path / "graphs")))

    def test_a_network_with_other_weights_is_not_traced_and_answers_bit_for_bit(
        self, tracer: Tracer, tmp_path: Path
    ) -> None:
        other = Small(2)
        kept = tracer.answer(other)
        assert tracer.times == 0
        assert np.array_equal(kept, Tracer(tmp_path / "new").answer(other))
        assert np.allclose(kept, other(torch.from_numpy(PIXELS)).detach(), atol=1e-5)

    def test_another_architecture_is_traced(self, tracer: Tracer, first: np.ndarray) -> None:
        assert np.allclose(tracer.answer(Small(1, factor=4.0)), 2 * first, atol=1e-5)
        assert tracer.times == 1

    def test_a_kept_graph_that_answers_otherwise_is_not_used(self, tracer: Tracer, first: np.ndarray) -> None:
        assert np.allclose(tracer.answer(Small(1, hidden=6.0)), 2 * first, atol=1e-5)
        assert tracer.times == 1

    def test_a_damaged_file_is_traced_anew(self, tracer: Tracer, first: np.ndarray) -> None:
        (kept,) = tracer.folder.iterdir()
        kept.write_bytes(kept.read_bytes()[:-1])
        assert np.array_equal(tracer.answer(Small(1)), first)
        assert tracer.times == 1
