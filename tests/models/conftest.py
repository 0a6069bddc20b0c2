"""Hypothesis without a deadline: a machine that is busy with other tests made a test of 70 ms take 300.

What torch exports is kept in the folder of `tests.preloaded`: all trainings on one frozen backbone share its export.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.programs import Preloaded
from tests.torture import forks

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def exports_kept(preloaded: Preloaded) -> None:
    forks.keep_exports(preloaded.exports)


@pytest.fixture(autouse=True)
def _exports_kept(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("exports_kept")
