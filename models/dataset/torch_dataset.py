"""Images as a PyTorch dataset: decoding, augmentation, and the exported graph's own resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from models.detector.preprocessing import preprocessor
from models.images import codec
from models.images.augmentation import PLAIN, View, augmented


def _plain(_: int) -> View:
    return PLAIN


class ImageDataset(Dataset):
    """Items are (pixels [3, side, side] in [0, 1], target) of a view of a file: index = view · n + image.

    `views` maps a number to a view. Any view number is allowed; `len` counts only the first view. With `types` [n, k],
    each item also has the image's row of it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: np.ndarray,
        image_size_px: int,
        views: Callable[[int], View] = _plain,
        types: np.ndarray | None = None,
    ) -> None:
        self.paths = list(paths)
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.float32))
        self.types = None if types is None else torch.from_numpy(types)
        self.views = views
        self.preprocess = preprocessor(image_size_px)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        view, number = divmod(index, len(self.paths))
        path = self.paths[number]
        pixels = self.preprocess(augmented(codec.read(path), self.views(view), path.stem))[0]
        answer = torch.from_numpy(pixels), self.targets[number]
        return answer if self.types is None else (*answer, self.types[number])
