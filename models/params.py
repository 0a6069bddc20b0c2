"""`params.yaml` as frozen types. Unknown keys, wrong types and invalid numbers are errors that name the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models import names, yaml_text
from models.errors import BadParams, NotReady
from models.param_names import with_present_names

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitShares(Section):
    train: Share
    validation: Share
    test: Share

    @model_validator(mode="after")
    def sum_to_one(self) -> SplitShares:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares must sum to 1, they sum to {total:g}")
        return self


def _regular_expression(text: str | None) -> str | None:
    if text is not None:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


def _name(text: str) -> str:
    if wrong := names.problem(text):
        raise ValueError(f"the name {names.shown(text)[:60]!r} {wrong}")
    return text


ViewName = Annotated[str, AfterValidator(_name)]


class Ingest(Section):
    split: SplitShares
    part_from: Annotated[str | None, AfterValidator(_regular_expression)] = None


class PartsPerClass(Section):
    train: Count
    validation: Count
    test: Count


# YAML reads an unquoted `off` as false.
Severity = Annotated[
    Literal["critical", "warning", "off"], BeforeValidator(lambda value: "off" if value is False else value)
]


class Severities(Section):
    readable: Literal["critical"]  # images that cannot be decoded are unusable
    label: Literal["critical"]
    label_source: Severity
    label_age: Severity
    size: Severity
    bit_depth: Severity
    typical_range: Severity
    parts_per_class: Severity


class Validate(Section):
    classes: tuple[str, ...]
    label_source: str | None
    max_label_age_days: Positive | None
    min_side_px: Count
    max_side_px: Count
    bit_depths: tuple[int, ...]
    typical_range_factor: Annotated[float, Field(gt=1)]
    min_parts_per_class: PartsPerClass
    severity: Severities


class Classification(Section):
    hidden: Annotated[int, Field(ge=1)]
    ensemble_size: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Detection(Section):
    head_channels: Annotated[int, Field(ge=1)]
    max_detections: Annotated[int, Field(ge=1, le=128)]
    nms_iou: Annotated[float, Field(gt=0, lt=1)]


class Anomaly(Section):
    method: Literal["patchcore", "student_teacher"]
    memory_bank_size: Annotated[int, Field(ge=1)]


class Model(Section):
    kind: Literal["classification", "segmentation", "detection", "anomaly"]
    backbone: str
    weights: str
    image_size_px: Annotated[int, Field(ge=32, le=2048)]
    tile_px: Annotated[int, Field(ge=32)] | None
    classification: Classification
    detection: Detection
    anomaly: Anomaly


class Augment(Section):
    """Ranges of the random augmentations; shares are of full scale or of the image's side."""

    views: Count
    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    zoom: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[float, Field(ge=0, lt=1)]
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]
    blur_px: Annotated[float, Field(ge=0)]
    noise: Share
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None


class Train(Section):
    finetune: Literal["head", "last", "all"]
    epochs: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    flips: tuple[Literal["none", "horizontal", "vertical", "both"], ...]
    augment: Augment
    seed: Annotated[int, Field(ge=0, lt=1 << 32)]  # the range that NumPy and PyTorch accept
    accelerator: str
    devices: int | str
    strategy: str
    num_nodes: Annotated[int, Field(ge=1)]
    precision: str


class Export(Section):
    max_score_difference: Positive
    projection_axes: Annotated[int, Field(ge=1)]


class Cost(Section):
    escape: Positive
    overkill: Positive
    review: Positive
    max_escape_rate: Share | None
    confidence: Annotated[float, Field(gt=0, lt=1)]
    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)]


class Production(Section):
    """Properties of the line, independent of the dataset."""

    defect_rate: Annotated[float, Field(gt=0, lt=1)] | Literal["reviews"] | None = None


class Inspect(Section):
    """The inspection service. No stage of dvc.yaml depends on it."""

    views: Annotated[int, Field(ge=1)] | Annotated[tuple[ViewName, ...], Field(min_length=1)] | None = None
    canary_share: Share = 0.0


class MinParts(Section):
    """Minimum numbers of test parts. A single number, as in older files, applies to both."""

    good: Count
    defective: Count


class Evaluate(Section):
    bootstrap: Annotated[int, Field(ge=100)]
    gallery: Count
    robustness: Count


class Promote(Section):
    min_auroc: Share
    max_escape_rate: Share
    max_overkill_rate: Share
    max_changed_verdicts: Share
    max_flipped_verdicts: Share
    max_calibration_error: Share | None = None  # as in files of before: not limited
    max_latency_ms: Positive | None = None
    max_cost_rise: Positive = 0.05
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    without_evidence: Literal["report", "ask", "refuse"] = "report"
    shadow_parts: Count = 0
    watch_parts: Count = 0
    roll_back_on: tuple[Literal["fails", "reviews", "escapes", "overkill"], ...] = ()
    max_escape_rise: Share | None = None  # as in files of before: a rise of escapes asks nobody
    min_probability_cheaper: Share
    min_parts: Annotated[
        MinParts,
        BeforeValidator(lambda value: {"good": value, "defective": value} if isinstance(value, int) else value),
    ]


class Monitor(Section):
    window: Annotated[int, Field(ge=8)]
    min_window: Annotated[int, Field(ge=8)]
    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = 1.0
    schedule: str


class Retrain(Section):
    labels: Annotated[int, Field(ge=1)]
    campaign_days: Positive = 14
    wait_for_labels_s: Annotated[float, Field(ge=0)]
    cooldown_minutes: Annotated[float, Field(ge=0)]
    max_per_day: Annotated[int, Field(ge=1)]
    same_shift_days: Annotated[float, Field(ge=0)] = 1
    min_labels_per_class: Annotated[int, Field(ge=0)] = 0
    labels_per_week: Annotated[int, Field(ge=1)] = 2000
    compute_hours_per_week: Positive = 48
    start_at_labels: Annotated[int, Field(ge=0)] = 0
    every_days: Annotated[float, Field(ge=0)] = 0
    needs_approval: bool = False
    expires_days: Positive = 14


class Params(Section):
    line: Annotated[str, AfterValidator(_name)]
    ingest: Ingest
    validate_: Validate = Field(alias="validate")  # `validate` is a method of pydantic's models
    model: Model
    train: Train
    export: Export
    production: Production = Production()
    cost: Cost
    evaluate: Evaluate
    promote: Promote
    inspect: Inspect = Inspect()
    monitor: Monitor
    retrain: Retrain


def load(path: Path, notice: Callable[[str], None] = lambda text: None) -> Params:
    """Read and check `params.yaml`. `notice` is called with a sentence for each former name.

    Raises NotReady if the file does not exist, and BadParams if anything in it is unknown, missing or out of range.
    """
    if not path.exists():
        raise NotReady(f"{path} does not exist.", next_step="Create a workspace: defectloop init DIR --line NAME")
    try:
        params, notices = _read(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadParams(f"{path} is not YAML: {error}.", next_step="Correct the file.") from error
    except UnicodeDecodeError as error:
        raise BadParams(
            f"{path} is not valid UTF-8 (byte {error.start}).", next_step="Save the file as UTF-8, then try again."
        ) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(step) for step in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise BadParams(
            f"{path}: {problems}.", next_step="Correct the file; docs/params.md lists every key."
        ) from error
    for text in notices:
        notice(text)
    return params


@lru_cache(maxsize=8)
def _read(text: str) -> tuple[Params, tuple[str, ...]]:
    """Return the parameters in `text`, and notices about former names. Cached, because parsing takes 20 ms and one command
    needs it a dozen times."""
    values, notices = with_present_names(yaml_text.load(text))
    return Params.model_validate(values), tuple(notices)
