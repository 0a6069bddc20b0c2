"""Backbone features for checking labels: those that a training has cached, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.images.augmentation import PLAIN
from models.params import Params
from models.training.feature_cache import features_kept
from pipelines import progress
from pipelines.workspace import Workspace


def kept(workspace: Workspace, images: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """Return the indices of `images` with cached features, and the features float32 [n, d]. Does not import torch."""
    store = features_kept(workspace.params(), _cache(workspace), "models.classification.network")
    names = [f"{image}/{PLAIN.name}" for image in images]
    rows, missing = store.present(names)
    lacking = set(missing)
    places = [place for place, name in enumerate(names) if name not in lacking]
    return places, rows[places]


def compute(workspace: Workspace, images: Sequence[str], files: Sequence[Path]) -> None:
    """Compute and cache missing features, at about 10 ms per image on one core. Imports torch."""
    from models.classification.network import Pooled
    from models.training import backbones
    from models.training.frozen_features import frozen_features

    params: Params = workspace.params()
    model = params.model
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, params.train.seed)
    features = frozen_features(Pooled(backbone), params, _cache(workspace))
    features([(image, file, PLAIN) for image, file in zip(images, files, strict=True)], progress.bar)


def _cache(workspace: Workspace) -> Path:
    return workspace.state / "cache" / "features"
