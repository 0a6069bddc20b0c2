"""How an anomaly detector learns, by `model.anomaly.method`: it remembers good patches, or a student imitates a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.anomaly import distillation, memory
from models.dataset.examples import Examples
from models.params import Params
from models.training.fitting import Progress, Trained

METHODS = {"patchcore": memory, "student_teacher": distillation}


def build(params: Params, defect_types: Sequence[str]) -> Any:
    """The untrained network. Raises what `models.training.backbones.build` raises."""
    return METHODS[params.model.anomaly.method].build(params, defect_types)


def train(
    training: Examples,
    validation: Examples,
    params: Params,
    *,
    work: Path,
    cache: Path,
    logger: Any,
    progress: Progress,
) -> Trained:
    """Learn the good images of the training split."""
    method = METHODS[params.model.anomaly.method]
    return method.train(training, validation, params, work=work, cache=cache, logger=logger, progress=progress)
