"""The registry of the kinds of detectors. Each is a folder with its network, Lightning module and training.

The `training` module of a kind implements `Learner`, and its network declares its outputs. No other code depends on the
kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from models.params import Params
from models.vocabulary import Label

if TYPE_CHECKING:
    import torch

    from models.dataset.examples import Examples
    from models.training.context import TrainingContext
    from models.training.fitting import Trained

# Labels that the training and validation splits must contain, by kind. Other labels are used too, or left out.
KINDS: dict[str, frozenset[Label]] = {
    "classification": frozenset({Label.GOOD, Label.DEFECT}),
    "segmentation": frozenset({Label.GOOD, Label.DEFECT}),
    "detection": frozenset({Label.DEFECT}),  # good images are used as background, if there are any
    "anomaly": frozenset({Label.GOOD}),
}


class Network(Protocol):
    """Maps pixels [n, 3, side, side] in [0, 1] to the tensors named in `outputs`, in that order.

    raw_score    [n], uncalibrated, larger is more defective
    type_logits  [n, k], one per defect type; a sigmoid gives independent probabilities
    embedding    [n, d], used for drift monitoring
    relevance    [n, h, w], anomaly or attribution map on any scale, larger is more defective
    boxes        [n, m, 6], only for detection: left, top, right, bottom relative to the image's sides, score in [0, 1],
                 index of the defect type; best first, after non-maximum suppression, padded with zeros
    """

    outputs: tuple[str, ...]
    baseline: Literal["place", "overall", "none"]  # of the relevance on good parts: per position, one value, or none

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]: ...


class Learner(Protocol):
    def build(self, params: Params, defect_types: Sequence[str]) -> Any:
        """Return the untrained network with `outputs`, a torch module whose state dict contains all learned weights."""

    def train(self, training: Examples, validation: Examples, context: TrainingContext) -> Trained:
        """Train, continuing from the checkpoint in `context.work` if there is one; both end with the same weights."""


def learner(kind: str) -> Learner:
    """Return the kind's training module. Imports torch."""
    return cast(Learner, import_module(f"models.{kind}.training"))
