"""Trains a segmentation network on the masks of the training split. Reads images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from models.dataset.examples import Examples, type_targets
from models.detector.preprocessing import preprocessor
from models.errors import BadData
from models.images import codec, masks
from models.images.augmentation import PLAIN, View, augmented, augmented_mask, view_at, views
from models.params import Params
from models.segmentation.lightning_module import Segmentation
from models.segmentation.network import LEVELS, Network
from models.training import backbones
from models.training.context import TrainingContext
from models.training.fitting import EpochOrder, Trained, fit


def build(params: Params, defect_types: Sequence[str]) -> Network:
    """Return the untrained network, with a second backbone if the first is trained. Raises as `backbones.build` does."""
    model, seed, learns = params.model, params.train.seed, params.train.finetune != "head"
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, seed, levels=LEVELS)
    unchanged = copy.deepcopy(backbone) if learns else None
    torch.manual_seed(seed)
    return Network(backbone, len(defect_types) if len(defect_types) > 1 else 0, unchanged)


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Train, continuing from the checkpoint in `context.work` if there is one; both end with the same weights.

    Nothing is cached, because the feature maps of all levels are larger than the images. Raises BadData if no training
    image has a mask.
    """
    params = context.params
    chosen, size = params.train, params.model.image_size_px
    learn = WithMasks(training, size, partial(view_at, chosen))
    check = WithMasks(validation, size)
    unmarked = int((training.targets > 0).sum()) - learn.drawn
    if not learn.drawn:
        raise BadData(
            "No defective image of the training split has a non-empty mask, which model.kind: segmentation needs.",
            next_step="Ingest masks (same-stem PNG, MVTec AD, COCO polygons), or set model.kind: classification.",
        )
    network = build(params, training.defect_types)
    backbone = network.tuned.backbone.requires_grad_(chosen.finetune == "all")
    if chosen.finetune == "last":
        backbone.last_stage().requires_grad_(True)
    order = EpochOrder(len(training), len(views(chosen)), chosen.seed, fresh=chosen.augment.views)
    module = Segmentation(network, chosen)
    history = fit(
        module,
        DataLoader(learn, chosen.batch_size, sampler=order),
        DataLoader(check, chosen.batch_size),
        context,
    )
    module.keep_averaged()
    noted = [f"{unmarked} defective images without a mask, used for the score only"] if unmarked else []
    return Trained(network.cpu().eval(), history, noted)


class WithMasks(Dataset):
    """Items are (pixels, target, types, mask, whether it is known) of a view of an image: index = view · n + image."""

    def __init__(self, examples: Examples, image_size_px: int, view: Callable[[int], View] = lambda _: PLAIN) -> None:
        self.examples, self.view = examples, view
        self.types = torch.from_numpy(type_targets(examples))
        self.preprocess = preprocessor(image_size_px)
        self.known = [
            not target or (mask is not None and bool(masks.read(mask).any()))
            for target, mask in zip(examples.targets, examples.masks, strict=True)
        ]

    @property
    def drawn(self) -> int:
        """Return the number of defective images with a non-empty mask."""
        return int((np.array(self.known) & (self.examples.targets > 0)).sum())

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        view, number = divmod(index, len(self.examples))
        path, target, mask = self.examples.files[number], self.examples.targets[number], self.examples.masks[number]
        image, turned = codec.read(path), self.view(view)
        where = np.zeros(image.shape[:2], dtype=bool)
        if target and mask is not None:
            where = augmented_mask(masks.read(mask, image.shape[:2]), turned, path.stem)
        white = np.ascontiguousarray(where[..., None]).astype(np.uint8) * 255
        return (
            torch.from_numpy(self.preprocess(augmented(image, turned, path.stem))[0]),
            torch.tensor(target),
            self.types[number],
            torch.from_numpy(self.preprocess(white)[0, 0]),
            torch.tensor(float(self.known[number])),
        )
