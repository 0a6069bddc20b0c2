"""Trains a detection network on the boxes of the training split. Reads images and caches features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from models.dataset.examples import Examples, subset
from models.dataset.torch_dataset import ImageDataset
from models.detection.lightning_module import Detection, Learning
from models.detection.losses import NOTHING
from models.detection.network import Network
from models.detection.stages import Frozen, Kept, Stem, Tail, stages
from models.detector.regions import from_heatmap
from models.errors import BadData
from models.images import codec, masks
from models.images.augmentation import PLAIN, View, augmented_boxes, view_at, views
from models.params import Params
from models.training import backbones
from models.training.context import Progress, TrainingContext
from models.training.fitting import EpochOrder, Trained, fit
from models.training.frozen_features import frozen_features


def build(params: Params, defect_types: Sequence[str]) -> Network:
    """Return the untrained network. Raises as `models.training.backbones.build` does."""
    model, own = params.model, params.model.detection
    torch.manual_seed(params.train.seed)
    backbone = backbones.build(model.backbone, model.weights, model.image_size_px, params.train.seed)
    return Network(
        backbone,
        len(defect_types),
        head_channels=own.head_channels,
        max_detections=own.max_detections,
        nms_iou=own.nms_iou,
    )


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Train, continuing from the checkpoint in `context.work` if there is one; both end with the same weights.

    `context.cache` holds frozen feature maps by image, for later trainings too. Defective images without boxes and masks
    are left out, because as background they would be wrong. Raises BadData if no training image has a box or mask.
    """
    training, validation = with_usable_boxes(training), with_usable_boxes(validation)
    if not training.targets.any():
        raise BadData(
            "No defective image of the training split has boxes or a mask, which model.kind: detection needs.",
            next_step="Ingest boxes (Pascal VOC, COCO, YOLO, Label Studio), or set model.kind: classification.",
        )
    params = context.params
    network = build(params, training.defect_types)
    maps, inputs = _learning_maps(network, params, context.cache, context.progress)
    chosen = params.train
    fresh = chosen.augment.views if maps is network.backbone else 0
    learn, check = inputs(training, True), inputs(validation, False)
    del inputs  # releases the cache's own copy of the features
    order = EpochOrder(len(training), len(views(chosen)), chosen.seed, fresh=fresh)
    module = Detection(Learning(maps, network.head), chosen, network.detections, training.defect_types)
    history = fit(
        module,
        DataLoader(learn, chosen.batch_size, sampler=order, collate_fn=batch),
        DataLoader(check, chosen.batch_size, collate_fn=batch),
        context,
    )
    module.keep_averaged()
    return Trained(network.cpu().eval(), history)


def with_usable_boxes(examples: Examples) -> Examples:
    """Return the examples with boxes around masks if they have no boxes, without defective images that have neither."""
    boxes = [
        _around(mask, types) if mask and target and not len(given) else given
        for mask, target, given, types in zip(
            examples.masks, examples.targets, examples.boxes, examples.types, strict=True
        )
    ]
    usable = [not target or len(given) > 0 for target, given in zip(examples.targets, boxes, strict=True)]
    return subset(replace(examples, boxes=boxes), usable)


def _around(mask: Path, types: tuple[int, ...]) -> np.ndarray:
    """Return [m, 5]: a box around each connected area, with the image's first type."""
    white = masks.read(mask)
    height, width = white.shape
    areas = from_heatmap(white.astype(np.float32), 0.5, width_px=width, height_px=height)
    kind = types[0] if types else 0
    rows = [
        (one.x / width, one.y / height, (one.x + one.width) / width, (one.y + one.height) / height, kind)
        for one in areas
    ]
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def batch(items: Sequence[tuple[torch.Tensor, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Collate inputs [n, …] as float32 and boxes [n, m, 5], padded with rows of type `NOTHING`."""
    most = max(len(boxes) for _, boxes in items)
    truth = np.full((len(items), most, 5), NOTHING, dtype=np.float32)
    for row, (_, boxes) in zip(truth, items, strict=True):
        row[: len(boxes)] = boxes
    return torch.stack([one for one, _ in items]).float(), torch.from_numpy(truth)


class WithBoxes(Dataset):
    """Items are (input, boxes) of a view of an image: index = view · n + image, as in `ImageDataset`."""

    def __init__(self, inputs: Callable[[int], torch.Tensor], examples: Examples, view: Callable[[int], View]) -> None:
        self.inputs, self.examples, self.view = inputs, examples, view
        self._shapes: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, np.ndarray]:
        number, image = divmod(index, len(self.examples))
        file, boxes, view = self.examples.files[image], self.examples.boxes[image], self.view(number)
        if len(boxes) and view.random and image not in self._shapes:
            self._shapes[image] = codec.read(file).shape
        shape = self._shapes.get(image, (1, 1))
        return self.inputs(index), augmented_boxes(boxes, view, file.stem, height_px=shape[0], width_px=shape[1])


def _learning_maps(
    network: Network, params: Params, cache: Path, progress: Progress
) -> tuple[nn.Module, Callable[[Examples, bool], Dataset]]:
    """Return the trained part of the backbone, and a function from examples (training or validation) to its inputs."""
    backbone, size, finetune = network.backbone, params.model.image_size_px, params.train.finetune
    with torch.no_grad():
        shapes = [tuple(level.shape[1:]) for level in backbone.eval()(torch.zeros(1, 3, size, size))]
    at = stages(backbone)
    frozen: nn.Module
    maps: nn.Module
    if finetune == "head":
        frozen, maps, name = backbone, Kept(shapes), "maps"
    elif finetune == "last" and at:
        frozen, maps, name = Stem(backbone, at[0]), Tail(backbone, at, shapes[0]), "finest-map"
    else:
        backbone.requires_grad_(finetune == "all")
        backbone.last_stage().requires_grad_(True)
        return backbone, partial(_pixels, params)
    features = frozen_features(Frozen(frozen), params, cache, kind=name, dtype=np.float16)

    def kept(examples: Examples, learning: bool) -> Dataset:
        angles = views(params.train) if learning else [PLAIN]
        named = list(zip(examples.images, examples.files, strict=True))
        rows = torch.from_numpy(features([(image, path, view) for view in angles for image, path in named], progress))
        return WithBoxes(lambda index: rows[index], examples, angles.__getitem__)

    return maps, kept


def _pixels(params: Params, examples: Examples, learning: bool) -> Dataset:
    view = partial(view_at, params.train) if learning else (lambda _: PLAIN)
    inputs = ImageDataset(examples.files, examples.targets, params.model.image_size_px, view)
    return WithBoxes(lambda index: inputs[index][0], examples, view)
