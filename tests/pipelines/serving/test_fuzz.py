"""Whatever is sent to the API, it does not fail: requests made from its own OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from pipelines.serving import app
from pipelines.serving.config import Serve
from pipelines.serving.service import Service
from tests.kept.unpacked import unpacked

EXAMPLES = 100
RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Service([unpacked(tmp_path_factory.mktemp("fuzzed"))], Serve()) as service:
        api = app.create(service)
        document = with_the_line(api.openapi())
        api.openapi = lambda: document  # type: ignore[method-assign]
        yield schemathesis.openapi.from_asgi("/openapi.json", api)


def with_the_line(document: dict) -> dict:
    """Half of the requests are for the line that is served; the others would all be answered with 404."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "line":
                    parameter["schema"] = {"anyOf": [{"const": "widgets"}, {"type": "string", "minLength": 1}]}
    return document


@pytest.mark.slow
def test_no_request_fails_the_service(description: Any) -> None:
    """Send requests to every operation. Not by schemathesis' own plugin, which does not know pytest 9."""
    operations = [found.ok() for found in description.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:

        @settings(max_examples=EXAMPLES, **RELAXED)
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            answered(case)

        send()


def answered(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400:
        assert set(response.json()["error"]) == {"code", "message", "next_step"}
