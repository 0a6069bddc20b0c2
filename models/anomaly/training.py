"""Training of anomaly detectors by `model.anomaly.method`: a memory bank of patches, or a student network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.anomaly import distillation, memory
from models.dataset.examples import Examples
from models.params import Params
from models.training.context import TrainingContext
from models.training.fitting import Trained

METHODS = {"patchcore": memory, "student_teacher": distillation}


def build(params: Params, defect_types: Sequence[str]) -> Any:
    """Return the untrained network. Raises as `models.training.backbones.build` does."""
    return METHODS[params.model.anomaly.method].build(params, defect_types)


def train(training: Examples, validation: Examples, context: TrainingContext) -> Trained:
    """Train on the good images of the training split."""
    return METHODS[context.params.model.anomaly.method].train(training, validation, context)
