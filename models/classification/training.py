"""Trains a classification network on the training split. Reads images and caches features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from models.classification.lightning_module import FromPixels, HeadsAlone
from models.classification.network import Network, Pooled
from models.dataset.examples import Examples, type_targets
from models.dataset.torch_dataset import ImageDataset
from models.images.augmentation import PLAIN, View, view_at, views
from models.params import Params
from models.training import backbones
from models.training.context import TrainingContext
from models.training.fitting import EpochOrder, Trained, fit
from models.training.frozen_features import frozen_features

MOST_FOR_STANDARDISATION = 2000  # maximum training images for mean and deviation of the statistics


def build(params: Params, defect_types: Sequence[str]) -> Network:
    """Return the untrained network. Raises as `models.training.backbones.build` does."""
    model, heads = params.model, params.model.classification
    torch.manual_seed(params.train.seed)
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, params.train.seed)
    return Network(
        backbone,
        hidden=heads.hidden,
        ensemble_size=heads.ensemble_size,
        dropout=heads.dropout,
        types=len(defect_types) if len(defect_types) > 1 else 0,
    )


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Train, continuing from the checkpoint in `context.work` if there is one; both end with the same weights.

    `context.cache` holds frozen features by image, for later trainings too.
    """
    params = context.params
    network = build(params, training.defect_types)
    chosen, heads_alone = params.train, params.train.finetune == "head"
    learn, check = (_from_kept if heads_alone else _from_pixels)(network, training, validation, context)
    fresh = 0 if heads_alone else chosen.augment.views
    order = EpochOrder(len(training), len(views(chosen)), chosen.seed, fresh=fresh)
    kind = HeadsAlone if heads_alone else FromPixels
    module = kind(network, chosen, share_defective=float(training.targets.mean()))
    history = fit(
        module,
        DataLoader(learn, chosen.batch_size, sampler=order),
        DataLoader(check, chosen.batch_size),
        context,
    )
    if isinstance(module, FromPixels):
        module.keep_averaged()
    return Trained(network.cpu().eval(), history)


def _from_kept(
    network: Network, training: Examples, validation: Examples, context: TrainingContext
) -> tuple[Dataset, Dataset]:
    angles = views(context.params.train)
    features = frozen_features(Pooled(network.backbone), context.params, context.cache)
    wanted: list[tuple[str, Path, View]] = [
        (name, path, view) for view in angles for name, path in zip(training.images, training.files, strict=True)
    ]
    wanted += [(name, path, PLAIN) for name, path in zip(validation.images, validation.files, strict=True)]
    rows = features(wanted, context.progress)
    learn, check = rows[: len(angles) * len(training)], rows[len(angles) * len(training) :]
    network.heads.fit_standardisation(torch.from_numpy(learn))
    return _tensors(learn, training, len(angles)), _tensors(check, validation, 1)


def _from_pixels(
    network: Network, training: Examples, validation: Examples, context: TrainingContext
) -> tuple[Dataset, Dataset]:
    params = context.params
    size = params.model.image_size_px
    step = -(-len(training) // MOST_FOR_STANDARDISATION)
    some = zip(training.images[::step], training.files[::step], strict=True)
    features = frozen_features(Pooled(network.backbone), params, context.cache)
    rows = features([(name, path, PLAIN) for name, path in some], context.progress)
    network.heads.fit_standardisation(torch.from_numpy(rows))
    return (
        ImageDataset(training.files, training.targets, size, partial(view_at, params.train), _types(training)),
        ImageDataset(validation.files, validation.targets, size, types=_types(validation)),
    )


def _tensors(features: np.ndarray, examples: Examples, views: int) -> TensorDataset:
    columns = [features, np.tile(examples.targets, views)]
    if (types := _types(examples)) is not None:
        columns.append(np.tile(types, (views, 1)))
    return TensorDataset(*map(torch.from_numpy, columns))


def _types(examples: Examples) -> np.ndarray | None:
    """Return the type targets, or None if there are fewer than two types."""
    return type_targets(examples) if len(examples.defect_types) > 1 else None
