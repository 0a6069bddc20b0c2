"""Backbones: timm's CNNs and ViTs as feature extractors, with packaged, downloaded, own or random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import nn

from models.errors import BadParams, Unreachable
from models.training.weights import PACKAGED, own_file, packaged_file

LEVELS = 3  # number of last feature maps that most kinds use


class Backbone(nn.Module):
    """Maps pixels [n, 3, side, side] in [0, 1] to the last `levels` feature maps, fine to coarse, each [n, c, h, w]."""

    def __init__(self, body: nn.Module, levels: int = LEVELS) -> None:
        super().__init__()
        self.body = body
        self.levels = list(range(len(body.feature_info)))[-levels:]
        self.body.prune_intermediate_layers(self.levels, prune_norm=True, prune_head=True)
        self.channels = tuple(int(body.feature_info[level]["num_chs"]) for level in self.levels)
        self.register_buffer("mean", torch.tensor(body.pretrained_cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(body.pretrained_cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        normal = (pixels - self.mean) / self.std
        return self.body.forward_intermediates(normal, indices=self.levels, intermediates_only=True)

    def last_stage(self) -> nn.Module:
        """Return the last stage, for fine-tuning only this one."""
        for name in ("blocks", "stages", "layers"):
            if hasattr(self.body, name):
                return getattr(self.body, name)[-1]
        return list(self.body.children())[-1]


def described(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return mean and standard deviation of each channel of each map: [n, 2 · Σ channels]."""
    return torch.cat([torch.cat(_mean_and_spread(level), dim=1) for level in maps], dim=1)


def build(name: str, weights: str, image_size_px: int, seed: int, levels: int = LEVELS) -> Backbone:
    """Return the backbone `name` with `weights`: packaged, hub, none (random from `seed`), or a file with a state dict.

    Raises BadParams for an unknown name, NotReady if a package is missing, and Unreachable if weights cannot be
    downloaded.
    """
    if not timm.is_model(name):
        raise BadParams(
            f"model.backbone: timm has no model {name!r}.",
            next_step=f"Use a name from timm.list_models(); with packaged weights: {', '.join(PACKAGED)}.",
        )
    if weights == "packaged":
        path = packaged_file(name)
        return Backbone(_load(_create(name, image_size_px), path, in_order=True), levels)
    if weights == "hub":
        return Backbone(_download(name, image_size_px), levels)
    torch.manual_seed(seed)
    body = _create(name, image_size_px)
    return Backbone(body if weights == "none" else _load(body, own_file(weights), in_order=False), levels)


def _create(name: str, image_size_px: int, *, pretrained: bool = False) -> nn.Module:
    try:  # the position embedding of a ViT depends on the image size
        return timm.create_model(name, pretrained=pretrained, img_size=image_size_px)
    except TypeError:
        return timm.create_model(name, pretrained=pretrained)


def _load(body: nn.Module, path: Path, *, in_order: bool) -> nn.Module:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True, map_location="cpu")
    wanted = body.state_dict()
    if in_order:
        state = dict(zip(wanted, state.values(), strict=True))
    try:
        body.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise BadParams(
            f"model.weights: {path} does not fit model.backbone: {first}",
            next_step="Set model.backbone to the backbone that the file was saved from.",
        ) from error
    return body


def _download(name: str, image_size_px: int) -> nn.Module:
    try:
        return _create(name, image_size_px, pretrained=True)
    except Exception as error:  # the hub's client raises many unrelated classes
        raise Unreachable(
            f"The weights of {name} cannot be downloaded ({type(error).__name__}).",
            next_step="Connect to the network, or use model.weights: packaged with model.backbone: "
            f"{', '.join(PACKAGED)}.",
        ) from error


def _mean_and_spread(level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = level.flatten(2)
    mean = flat.mean(2)
    return mean, ((flat - mean.unsqueeze(2)).square().mean(2) + 1e-8).sqrt()
