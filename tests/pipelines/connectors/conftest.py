from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipelines.connectors.stand_in import StandIn, running


@pytest.fixture
def service() -> Iterator[StandIn]:
    with running() as service:
        yield service
