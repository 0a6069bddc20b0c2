"""What the runtime and the trainer add to what they stand on, as ratios in one run. Run: python -m benchmarks.speed

Ratios of times that were taken by turns, so that a machine that gets busy slows both sides alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page

SIDE_PX = 300
ROUNDS = 12
BATCH = 64
BARS = {
    "single image: runtime / bare session": (1.15, "at most"),
    "single image: eager PyTorch / runtime": (4.0, "at least"),
    "many images from files: runtime / bare session": (0.9, "at least"),
    "training: Lightning / bare PyTorch loop": (0.9, "at least"),
}


@dataclass(frozen=True)
class Ratio:
    name: str
    value: float
    ours: str
    theirs: str

    @property
    def holds(self) -> bool:
        bar, direction = BARS[self.name]
        return self.value <= bar if direction == "at most" else self.value >= bar


def by_turns(
    first: Callable[[], object], second: Callable[[], object], rounds: int, calls: int = 1
) -> tuple[float, float]:
    """Median seconds of a call, alternately `calls` of the first and of the second.

    The first call of a turn is not counted: it still competes with threads that the other side left spinning.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, seconds in zip((first, second), taken, strict=True):
            for number in range(calls + (calls > 1)):
                started = time.perf_counter()
                call()
                if number or calls == 1:
                    seconds.append(time.perf_counter() - started)
    return statistics.median(taken[0]), statistics.median(taken[1])


def sealed(where: Path, backbone: str, image_size_px: int) -> tuple[Any, Any]:
    """(network, detector) with the packaged weights and heads that learned nothing: speed does not depend on them."""
    import onnx
    import torch

    from models.classification.network import Network
    from models.detector import onnx_graphs
    from models.detector.runtime import Detector, DetectorMetadata
    from models.thresholds.calibration import Calibrator
    from models.training import backbones
    from models.vocabulary import OperatingPoint

    torch.manual_seed(0)
    network = Network(
        backbones.build(backbone, "packaged", image_size_px, seed=0), hidden=256, ensemble_size=5, dropout=0.5
    ).eval()
    graph = onnx_graphs.with_preprocessing(onnx_graphs.export(network, image_size_px, network.outputs), image_size_px)
    with torch.inference_mode():
        shapes = [tuple(answer.shape) for answer in network(torch.zeros(1, 3, image_size_px, image_size_px))]
    width = shapes[1][1]
    finish = onnx_graphs.Finish(
        Calibrator(1.0, 0.0), np.zeros(shapes[2][1:]), 1.0, np.zeros(width), np.zeros((width, 4))
    )
    about = DetectorMetadata(
        "classification", "speed", ("defect",), OperatingPoint(0.1, 0.5), finish.calibrator, "", 0.5, image_size_px,
        None, backbone, "", "", "", "", "",
    )  # fmt: skip
    onnx.save(onnx_graphs.detector(graph, finish, about), where / "detector.onnx")
    return network, Detector(where / "detector.onnx")


def inference(where: Path, image_size_px: int) -> list[Ratio]:
    import torch
    from torch.nn import functional

    from models.detector.runtime import INPUT, OUTPUTS, as_input
    from models.images import codec

    network, detector = sealed(where, "tf_efficientnet_lite0", image_size_px)
    picture = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 1)).astype(np.uint8)
    ready = {INPUT: as_input(picture)}
    ours, bare = by_turns(lambda: detector.predict(picture), lambda: detector.session.run(OUTPUTS, ready), ROUNDS, 10)

    def eagerly() -> None:
        """The same work: resize and network; calibration, heatmap's scale and regions left out."""
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255).expand(1, 3, -1, -1)
        network(functional.interpolate(pixels, size=(image_size_px,) * 2, mode="bilinear", antialias=True))

    with torch.inference_mode():
        runtime, eager = by_turns(lambda: detector.predict(picture), eagerly, ROUNDS, 10)
    files = []
    for number in range(BATCH):
        files.append(where / f"{number}.png")
        files[-1].write_bytes(codec.encode_png(np.roll(picture, number, axis=0)))
    many, alone = by_turns(
        lambda: list(detector.predict_many(map(codec.read, files))),
        lambda: [detector.session.run(OUTPUTS, ready) for _ in files],
        ROUNDS // 2,
    )
    return [
        Ratio("single image: runtime / bare session", ours / bare, f"{ours * 1e3:.2f} ms", f"{bare * 1e3:.2f} ms"),
        Ratio(
            "single image: eager PyTorch / runtime", eager / runtime, f"{runtime * 1e3:.2f} ms", f"{eager * 1e3:.2f} ms"
        ),
        Ratio(
            "many images from files: runtime / bare session",
            alone / many,
            f"{BATCH / many:.0f} images/s",
            f"{BATCH / alone:.0f} images/s, decoded before",
        ),
    ]


def training(where: Path, image_size_px: int, batches: int) -> Ratio:
    """One epoch of whole fine-tuning on pixels in memory, through `models.training.fitting.fit` and as a bare loop."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from models import params
    from models.classification.lightning_module import FromPixels
    from models.classification.network import Network
    from models.training import backbones
    from models.training.context import TrainingContext
    from models.training.fitting import fit

    given = params.load(Path(__file__).parents[1] / "params.yaml")
    chosen = given.train.model_copy(update={"finetune": "all", "epochs": 1, "batch_size": 16})
    given = given.model_copy(update={"train": chosen})
    n = 16 * batches
    dataset = TensorDataset(torch.rand(n, 3, image_size_px, image_size_px), (torch.arange(n) % 2).float())

    def module() -> FromPixels:
        backbone = backbones.build("tf_efficientnet_lite0", "packaged", image_size_px, seed=0)
        network = Network(backbone, hidden=256, ensemble_size=5, dropout=0.5)
        return FromPixels(network, chosen, share_defective=0.5)

    def ours() -> None:
        with tempfile.TemporaryDirectory(dir=where) as work:
            loaders = DataLoader(dataset, 16), DataLoader(TensorDataset(*dataset[:16]), 16)
            fit(module(), *loaders, TrainingContext(given, Path(work), Path(work)))

    def bare() -> None:
        learner = module().train().to(memory_format=torch.channels_last)
        learner.on_train_epoch_start()
        learned = [weights for weights in learner.learner.parameters() if weights.requires_grad]
        found = torch.optim.AdamW(learned, lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
        for batch in DataLoader(dataset, 16):
            found.zero_grad()
            learner._loss(learner.learner, batch)[0].backward()
            learner.on_before_optimizer_step(found)
            found.step()
        with torch.inference_mode():
            learner._loss(learner.averaged, dataset[:16])  # one validation batch, as the other side has

    seconds = by_turns(ours, bare, 3)
    rates = [n / each for each in seconds]
    return Ratio(
        "training: Lightning / bare PyTorch loop",
        rates[0] / rates[1],
        f"{rates[0]:.1f} images/s",
        f"{rates[1]:.1f} images/s",
    )


def report(ratios: list[Ratio]) -> str:
    rows = [
        [one.name, f"{one.value:.2f}", f"{BARS[one.name][1]} {BARS[one.name][0]:g}", one.ours, one.theirs]
        for one in ratios
    ]
    return page.table(["ratio", "measured", "promised", "ours", "the other"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size-px", type=int, default=224)
    parser.add_argument("--batches", type=int, default=12, help="of 16 images, a training epoch")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios = inference(Path(folder), given.image_size_px)
        ratios.append(training(Path(folder), given.image_size_px, given.batches))
    text = report(ratios)
    print(text)
    if given.write:
        page.write("Speed", text, page.DETECTORS)
    return int(not all(one.holds for one in ratios))


if __name__ == "__main__":
    raise SystemExit(main())
