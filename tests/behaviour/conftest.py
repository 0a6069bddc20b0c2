from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from flows.local_server import local_server
from tests.behaviour.processes import marked
from tests.conftest import make_workspace


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all tests that run flows; a flow without one would start its own each time."""
    place = make_workspace(tmp_path_factory.mktemp("server") / "workspace")
    before = dict(os.environ)
    os.environ["PREFECT_HOME"] = str(place.state / "prefect")
    try:
        with local_server(place) as url:
            yield url
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def places(prefect_url: str, tmp_path: Path) -> dict[str, str]:
    """Environment of a command that runs flows on that server."""
    return {"PREFECT_API_URL": prefect_url, "PREFECT_HOME": str(tmp_path / "prefect")}


@pytest.fixture
def started() -> Iterator[str]:
    """A value of the environment that everything started with it inherits."""
    mark = uuid4().hex
    yield mark
    for process in marked(mark):
        process.kill()
