from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models import param_names, params
from models.errors import BadParams
from models.params import MinParts

DEFAULTS = Path(__file__).parents[2] / "params.yaml"


def loaded(tmp_path: Path, values: dict) -> params.Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return params.load(path)


@pytest.fixture
def values() -> dict:
    return dict(yaml.safe_load(DEFAULTS.read_text()))


def test_a_file_without_the_section_production_is_one_of_before(tmp_path: Path, values: dict) -> None:
    del values["production"]
    assert loaded(tmp_path, values).production.defect_rate is None


def test_a_single_number_of_test_parts_counts_for_each_kind(tmp_path: Path, values: dict) -> None:
    values["promote"]["min_parts"] = 40
    assert loaded(tmp_path, values).promote.min_parts == MinParts(good=40, defective=40)


def test_a_key_that_stands_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = DEFAULTS.read_text()
    path.write_text(text.replace("  labels: 300", "  labels: 200\n  labels: 300"))
    with pytest.raises(BadParams, match=r"'labels' occurs twice(.|\n)*line \d+"):
        params.load(path)


def test_names_of_older_files_are_read_under_the_present_ones_and_named(tmp_path: Path, values: dict) -> None:
    heads, boxes, anomaly = (values["model"][kind] for kind in ("classification", "detection", "anomaly"))
    heads["members"] = heads.pop("ensemble_size") + 2
    boxes["overlap"] = boxes.pop("nms_iou")
    anomaly["method"] = "distilled"
    values["validate"]["severity"]["looks"] = values["validate"]["severity"].pop("typical_range")
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    notices: list[str] = []
    read = params.load(path, notices.append).model
    assert read.classification.ensemble_size == 7
    assert read.detection.nms_iou == 0.5
    assert read.anomaly.method == "student_teacher"
    assert sorted(notices) == [
        "params.yaml: model.anomaly.method: distilled was renamed to student_teacher.",
        "params.yaml: model.classification.members was renamed to ensemble_size.",
        "params.yaml: model.detection.overlap was renamed to nms_iou.",
        "params.yaml: validate.severity.looks was renamed to typical_range.",
    ]


def test_every_renamed_key_exists_under_its_present_name(tmp_path: Path, values: dict) -> None:
    for place, name in param_names.RENAMED.items():
        *sections, old = place.split(".")
        section = values
        for step in sections:
            section = section[step]
        section[old] = section.pop(name)
    notices: list[str] = []
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    assert params.load(path, notices.append) == params.load(DEFAULTS)
    assert len(notices) == len(param_names.RENAMED)


def test_both_names_of_a_key_at_once_are_an_error(tmp_path: Path, values: dict) -> None:
    values["model"]["anomaly"]["bank_size"] = 10
    with pytest.raises(BadParams, match=r"model\.anomaly\.bank_size and memory_bank_size, which are the same"):
        loaded(tmp_path, values)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("cost", "escape", float("inf")),
        ("train", "seed", -1),
        ("train", "seed", 10**400),
        ("train", "seed", float("nan")),
    ],
)
def test_a_number_that_no_training_survives_is_refused_before_it(
    tmp_path: Path, values: dict, section: str, key: str, value: float
) -> None:
    values[section][key] = value
    with pytest.raises(BadParams, match=rf"{section}\.{key}"):
        loaded(tmp_path, values)
