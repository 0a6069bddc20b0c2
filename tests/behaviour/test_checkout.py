"""The checkout itself is a workspace: its data comes back from a package, without anybody's private remote."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.adapters import dataset_versions
from pipelines.ingest import ingest
from pipelines.initialise import init

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_ingest_reproduces_the_hash_in_data_dvc(tmp_path: Path) -> None:
    place = init(tmp_path / "newcomer", "solar-cells")
    ingest.ingest(place, "elpv")
    promised = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"][0]["md5"]
    assert dataset_versions.add_data(place.root) == promised


def test_the_configuration_of_the_remote_names_no_place_of_a_machine() -> None:
    assert "url = ../.defectloop/dvc-remote" in (ROOT / ".dvc" / "config").read_text()


def test_a_new_workspace_has_the_checkout_s_own_parameters_and_stages(tmp_path: Path) -> None:
    place = init(tmp_path / "line", "solar-cells")
    for name in ("params.yaml", "dvc.yaml"):
        assert (place.root / name).read_text() == (ROOT / name).read_text()
