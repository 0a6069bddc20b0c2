"""Compares the exported file with the trained network: scores, verdicts and heatmaps, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.dataset.examples import Examples
from models.dataset.torch_dataset import ImageDataset
from models.detector.onnx_graphs import Finish
from models.detector.runtime import Detector
from models.errors import Refused
from models.images import codec

BATCH = 32
NAMED = 6  # images that are listed in a refusal
SMALLEST_CORRELATION = 0.99  # minimum correlation of the two heatmaps of an image
_FLAT = 0.02  # standard deviation below which a heatmap is flat and its correlation meaningless


@dataclass(frozen=True)
class Answered:
    """Results of both for one image: calibrated scores, and the correlation of the heatmaps (1 if both are flat)."""

    image: str
    trained: float
    exported: float
    heatmaps: float
    same_verdict: bool

    @property
    def difference(self) -> float:
        return abs(self.trained - self.exported)


@dataclass(frozen=True)
class Agreement:
    """Agreement of the exported file with the trained network; `worst` are the images that differ most."""

    n: int
    max_score_difference: float
    verdict_agreement: float  # share of equal verdicts
    min_heatmap_correlation: float
    worst: tuple[Answered, ...]


def compare(network: Any, sealed: Detector, held: Examples, finish: Finish, image_size_px: int) -> Agreement:
    """Run every image of `held` through PyTorch and through the file. `network` is a `models.training.kinds.Network`."""
    ours = _network_answers(network, held, finish, image_size_px)
    theirs = sealed.predict_many(map(codec.read, held.files))
    answers = [
        Answered(
            image=image,
            trained=score,
            exported=answer.score,
            heatmaps=_correlation(heatmap, answer.heatmap),
            same_verdict=sealed.verdict(score) == sealed.verdict(answer.score),
        )
        for image, (score, heatmap), answer in zip(held.images, ours, theirs, strict=True)
    ]
    worst = sorted(
        answers, key=lambda one: (one.same_verdict, min(one.heatmaps, SMALLEST_CORRELATION), -one.difference)
    )
    return Agreement(
        n=len(answers),
        max_score_difference=max(one.difference for one in answers),
        verdict_agreement=float(np.mean([one.same_verdict for one in answers])),
        min_heatmap_correlation=min(one.heatmaps for one in answers),
        worst=tuple(worst[:NAMED]),
    )


def require(agreement: Agreement, max_score_difference: float) -> None:
    """Raise Refused, with the numbers and the worst images, unless the file agrees with the network."""
    if (
        agreement.max_score_difference <= max_score_difference
        and agreement.verdict_agreement == 1
        and agreement.min_heatmap_correlation >= SMALLEST_CORRELATION
    ):
        return
    shown = ", ".join(
        f"{one.image[:12]} ({one.trained:.4f} and {one.exported:.4f}, heatmaps {one.heatmaps:.3f})"
        for one in agreement.worst
    )
    raise Refused(
        f"The exported file disagrees with the trained network: largest score difference "
        f"{agreement.max_score_difference:.2e} (allowed {max_score_difference:.0e}), {agreement.verdict_agreement:.1%} of "
        f"{agreement.n} verdicts equal, smallest correlation of heatmaps {agreement.min_heatmap_correlation:.3f} (minimum "
        f"{SMALLEST_CORRELATION}). Nothing was exported. Worst images: {shown}.",
        next_step="Train with train.precision: 32-true, or with another backbone.",
    )


def _network_answers(
    network: Any, held: Examples, finish: Finish, image_size_px: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the calibrated score and the heatmap of each image, computed by PyTorch."""
    import torch

    dataset = ImageDataset(held.files, held.targets, image_size_px)
    network = network.to(memory_format=torch.channels_last)  # three times as fast on a CPU
    raw, relevance = network.outputs.index("raw_score"), network.outputs.index("relevance")
    with torch.inference_mode():
        for pixels, _ in torch.utils.data.DataLoader(dataset, batch_size=BATCH):
            answers = network(pixels.contiguous(memory_format=torch.channels_last))
            scores = finish.calibrator(answers[raw].numpy())
            heat = [finish.heatmap(one) for one in answers[relevance].numpy()]
            yield from zip(scores.tolist(), heat, strict=True)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if max(a.std(), b.std()) < _FLAT:
        return 1.0
    if min(a.std(), b.std()) == 0:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
