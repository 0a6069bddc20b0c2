from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models import params
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
    with pytest.raises(BadParams, match=r"'labels' stands there twice(.|\n)*line \d+"):
        params.load(path)
