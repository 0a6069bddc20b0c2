"""Renamed and removed parameters: older `params.yaml` files are read with the present names, with a notice. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import BadParams

# The former path of a parameter to its present name in the same section.
RENAMED = {
    "validate.looks_reach": "typical_range_factor",
    "validate.severity.looks": "typical_range",
    "model.classification.members": "ensemble_size",
    "model.detection.width": "head_channels",
    "model.detection.boxes": "max_detections",
    "model.detection.overlap": "nms_iou",
    "model.anomaly.bank_size": "memory_bank_size",
    "evaluate.steadiness": "robustness",
    "promote.max_turned_verdicts": "max_flipped_verdicts",
}
# Parameters that no longer exist, with what replaced them.
REMOVED = {
    "promote.max_f1_drop": "slices are compared by cost, with promote.max_cost_rise as the margin",
    "monitor.significance": "monitor.false_alarms_per_month sets the limit of an alarm",
    "monitor.drift_share": "monitor.false_alarms_per_month sets the limit of an alarm",
}
RENAMED_VALUES = {"model.anomaly.method": {"distilled": "student_teacher"}}


def with_present_names(tree: Any) -> tuple[Any, list[str]]:
    """Return `tree` with present names, and one sentence per replaced or removed name.

    Raises BadParams if both names are present.
    """
    return _renamed(tree, "")


def _renamed(tree: Any, place: str) -> tuple[Any, list[str]]:
    if not isinstance(tree, Mapping):
        return tree, []
    present, notices = {}, []
    for key, value in tree.items():
        here = f"{place}.{key}".removeprefix(".")
        if here in REMOVED:
            notices.append(f"params.yaml: {here} is no longer used: {REMOVED[here]}.")
            continue
        name = RENAMED.get(here, key)
        if name != key:
            if name in tree:
                raise BadParams(
                    f"params.yaml contains both {here} and {name}, which are the same.", next_step=f"Delete {here}."
                )
            notices.append(f"params.yaml: {here} was renamed to {name}.")
        present[name], below = _renamed(value, here)
        notices += below
        if isinstance(value, str) and value in RENAMED_VALUES.get(here, {}):
            present[name] = RENAMED_VALUES[here][value]
            notices.append(f"params.yaml: {here}: {value} was renamed to {present[name]}.")
    return present, notices
