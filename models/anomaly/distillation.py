"""Trains a student network on the good images of the training split (`student_teacher`).

Images are read, augmented and passed to the teacher when they are needed, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.utils.data import DataLoader, Dataset

from models.anomaly.lightning_module import Distillation
from models.anomaly.student import Network, Teacher, errors
from models.dataset.examples import Examples, subset
from models.dataset.torch_dataset import ImageDataset
from models.detector import graph_cache
from models.detector.onnx_graphs import export
from models.detector.preprocessing import OUTPUT, session_of
from models.images.augmentation import view_at, views
from models.params import Params
from models.training import backbones
from models.training.context import TrainingContext
from models.training.fitting import EpochOrder, Trained, fit

PICTURES = 512  # minimum images per epoch; with fewer images, several views of each are used
MEASURED = 256  # images from which the normal statistics of channels and disagreement are taken


class Lessons(Dataset):
    """Items are (pixels, the teacher's standardised map of each level).

    `backbone` is an ONNX session of the maps, faster than PyTorch on a CPU.
    """

    def __init__(self, images: ImageDataset, backbone: onnxruntime.InferenceSession, teacher: Teacher) -> None:
        self.images = images
        self.backbone = backbone
        self.teacher = teacher

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        pixels, _ = self.images[index]
        maps = self.backbone.run(None, {OUTPUT: pixels[None].numpy()})
        return (pixels, *(one[0] for one in self.teacher.standardised([torch.from_numpy(one) for one in maps])))


def build(params: Params, defect_types: Sequence[str]) -> Network:
    """Return the network with an untrained student. Raises as `models.training.backbones.build` does."""
    model, seed = params.model, params.train.seed
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, seed)
    torch.manual_seed(seed)
    return Network(backbone)


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Train, continuing from the last checkpoint in `context.work` if there is one. Returns the trained network."""
    params = context.params
    chosen, size = params.train, params.model.image_size_px
    network = build(params, training.defect_types).eval()
    good, held = (subset(split, split.targets == 0) for split in (training, validation))
    seldom = -(-len(good) // MEASURED)
    taught = partial(Lessons, backbone=_session(network.teacher, size, context.cache), teacher=network.teacher)
    few = taught(ImageDataset(good.files[::seldom], good.targets[::seldom], size))
    _standardise(network.teacher, few)
    times = -(-PICTURES // len(good))
    varied = ImageDataset(list(good.files) * times, np.tile(good.targets, times), size, partial(view_at, chosen))
    order = EpochOrder(len(varied), len(views(chosen)), chosen.seed, fresh=chosen.augment.views)
    history = fit(
        Distillation(network.student, chosen),
        DataLoader(taught(varied), chosen.batch_size, sampler=order),
        DataLoader(taught(ImageDataset(held.files, held.targets, size)), chosen.batch_size),
        context,
    )
    network = network.cpu().eval()
    _measure_usual(network, DataLoader(few, chosen.batch_size))
    return Trained(network, history)


def _session(teacher: Teacher, image_size_px: int, cache: Path) -> onnxruntime.InferenceSession:
    """Return a session of the backbone's maps: those of a teacher whose channels are not standardised yet."""
    names = [f"level_{level}" for level in range(len(teacher.channels))]
    return session_of(export(teacher, image_size_px, names, cache / graph_cache.FOLDER), threads=1)


def _standardise(teacher: Teacher, lessons: Lessons) -> None:
    """Standardise the teacher's channels, so that all have the same weight. Before, `lessons` are the plain maps."""
    sums = [(0, torch.zeros(()), torch.zeros(()))] * len(teacher.channels)  # of each level: positions, values, squares
    for place in range(len(lessons)):
        flat = [one.double().flatten(1) for one in lessons[place][1:]]
        sums = [
            (n + one.shape[1], total + one.sum(1), squares + one.square().sum(1))
            for (n, total, squares), one in zip(sums, flat, strict=True)
        ]
    for level, (n, total, squares) in enumerate(sums):
        mean = total / n
        teacher.standardise(level, mean.float(), (squares / n - mean.square()).clamp_min(0).sqrt().float())


@torch.inference_mode()
def _measure_usual(network: Network, lessons: DataLoader) -> None:
    sums, n = torch.zeros_like(network.usual), 0
    for pixels, *taught in lessons:
        level_errors = errors(tuple(taught), network.student(pixels))
        sums += torch.stack([error.mean() for error in level_errors]) * len(pixels)
        n += len(pixels)
    network.usual.copy_((sums / n).clamp_min(1e-6))
