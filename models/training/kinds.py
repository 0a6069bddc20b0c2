"""The kinds of detectors by name. Each is a folder with its network, its Lightning module and its training.

What a kind's `training` module offers is `Learner`; what its network answers is told by the network itself. Nothing
else knows which kind it has before it.
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

# By name, what the splits for training and validation must hold. What else they hold is learned from too, or left out.
KINDS: dict[str, frozenset[Label]] = {
    "classification": frozenset({Label.GOOD, Label.DEFECT}),
    "segmentation": frozenset({Label.GOOD, Label.DEFECT}),
    "detection": frozenset({Label.DEFECT}),  # good images are background, where there are any
    "anomaly": frozenset({Label.GOOD}),
}


class Network(Protocol):
    """Pixels [n, 3, side, side] in [0, 1] to the tensors that `outputs` names, in that order.

    raw_score    [n], larger is more defective, uncalibrated
    type_logits  [n, k], one for each defect type; a sigmoid makes independent probabilities of them
    embedding    [n, d], what drift is measured on
    relevance    [n, h, w], where the defect is: any scale, larger is more; 0 where nothing speaks for one
    boxes        [n, m, 6], detection alone: left, top, right, bottom in shares of the image's sides, score in [0, 1],
                 number of the defect type; best first, no two of the same thing, filled up with zeros
    """

    outputs: tuple[str, ...]
    baseline: Literal["place", "overall", "none"]  # of relevance: what good parts show there, or anywhere; none of it

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]: ...


class Learner(Protocol):
    def build(self, params: Params, defect_types: Sequence[str]) -> Any:
        """The untrained network with `outputs`: a torch module whose state dict is everything that was learned."""

    def train(self, training: Examples, validation: Examples, context: TrainingContext) -> Trained:
        """Train from what `context.work` holds of a killed training, else from the start; both end with the same weights."""


def learner(kind: str) -> Learner:
    """Imports torch."""
    return cast(Learner, import_module(f"models.{kind}.training"))
