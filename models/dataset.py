"""Images as a PyTorch dataset: decode, the exported graph's own resize, and the flips that training asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from models import images
from models.preprocessing import preprocessor

AXES: dict[str, tuple[int, ...]] = {"none": (), "horizontal": (1,), "vertical": (0,), "both": (0, 1)}


def flip(image: np.ndarray, view: str) -> np.ndarray:
    """One of the named views of an H×W×C image."""
    return np.ascontiguousarray(np.flip(image, AXES[view]))


class ImageDataset(Dataset):
    """(pixels [3, side, side] in [0, 1], target) of every view of every file: index = view · n + image."""

    def __init__(
        self, paths: Sequence[Path], targets: np.ndarray, image_size_px: int, views: Sequence[str] = ("none",)
    ) -> None:
        self.paths = list(paths)
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.float32))
        self.views = list(views)
        self.preprocess = preprocessor(image_size_px)

    def __len__(self) -> int:
        return len(self.paths) * len(self.views)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        view, number = divmod(index, len(self.paths))
        pixels = self.preprocess(flip(images.read(self.paths[number]), self.views[view]))[0]
        return torch.from_numpy(pixels), self.targets[number]
