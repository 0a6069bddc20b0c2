"""The client repeats what may be repeated under one key, and says what is wrong otherwise."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from models.errors import BadInput, Busy, DefectloopError, NotReady, Refused, Unreachable, UnreadableImage
from pipelines.client import Client, backoff_s, retry_after_s
from tests.pipelines.connectors.stand_in import GOOD, KEY, LINE, SCRATCHED, StandIn, running


@pytest.fixture
def service() -> Iterator[StandIn]:
    with running() as service:
        yield service


@pytest.fixture
def client(service: StandIn) -> Iterator[Client]:
    with Client(service.url, KEY, deadline_s=10, attempt_s=0.4) as client:
        yield client


def test_an_inspection_carries_what_the_station_states(client: Client, service: StandIn) -> None:
    answer = client.inspect(LINE, SCRATCHED, part="A/7 é", view="top", slice="matt", captured_at="2026-11-30T12:00:00Z")
    assert (answer["verdict"], answer["part"], answer["view"]) == ("fail", "A/7 é", "top")
    assert service.inspections[0]["slice"] == "matt"
    assert client.inspection(LINE, answer["inspection"])["part"] == "A/7 é"
    assert client.part(LINE, "A/7 é")["verdict"] == "fail"
    assert client.complete(LINE, "A/7 é", views=["top"])["complete"]


def test_a_search_goes_through_all_pages(client: Client) -> None:
    for number in range(7):
        client.inspect(LINE, GOOD, part=f"p{number}")
    assert [row["part"] for row in client.search(LINE, page=3)] == [f"p{number}" for number in reversed(range(7))]


@pytest.mark.parametrize("fault", ["503", "429", "lost", "slow"])
def test_a_failed_attempt_is_repeated_with_the_same_key(client: Client, service: StandIn, fault: str) -> None:
    service.faults = [fault, fault]
    assert client.inspect(LINE, GOOD, part="p1")["verdict"] == "pass"
    assert len(service.received) == 3
    assert len(set(service.received)) == 1
    assert len(service.rows) == 1


def test_every_call_without_a_key_is_an_inspection_of_its_own(client: Client) -> None:
    numbers = [client.inspect(LINE, GOOD, part="p1")["inspection"] for _ in range(2)]
    assert numbers == [1, 2]
    again = [client.inspect(LINE, GOOD, part="p1", key="mine") for _ in range(2)]
    assert [row["repeated"] for row in again] == [False, True]


def test_a_service_that_is_killed_and_comes_back_answers_in_the_end(client: Client, service: StandIn) -> None:
    client.inspect(LINE, GOOD, part="p0")
    service.kill()
    answers: list[dict] = []
    asking = threading.Thread(target=lambda: answers.append(client.inspect(LINE, SCRATCHED, part="p1")))
    asking.start()
    time.sleep(0.3)
    assert not answers
    service.start()
    asking.join(10)
    assert answers[0]["verdict"] == "fail"
    assert len(service.rows) == 2


def test_a_service_that_stays_away_is_reported_after_the_deadline(service: StandIn) -> None:
    service.kill()
    with Client(service.url, KEY, deadline_s=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=service.url) as error:
            client.inspect(LINE, GOOD)
    assert time.monotonic() - began < 5
    assert "defectloop serve" in error.value.next_step


def test_a_wait_longer_than_the_deadline_is_not_begun(service: StandIn) -> None:
    service.faults, service.retry_after = ["429"], "3600"
    with Client(service.url, KEY, deadline_s=5) as client, pytest.raises(Busy):
        client.inspect(LINE, GOOD)
    assert len(service.received) == 1


def test_the_time_that_the_service_asks_for_is_waited(client: Client, service: StandIn) -> None:
    service.faults, service.retry_after = ["503"], "1"
    began = time.monotonic()
    client.inspect(LINE, GOOD)
    assert time.monotonic() - began >= 1


def test_refusals_are_raised_at_once(client: Client, service: StandIn) -> None:
    client.inspect(LINE, GOOD, part="p1", key="k")
    cases: list[tuple[type[DefectloopError], object]] = [
        (BadInput, lambda: client.inspect(LINE, SCRATCHED, part="p1", key="k")),
        (UnreadableImage, lambda: client.inspect(LINE, b"no image")),
        (NotReady, lambda: client.part("gadgets", "p1")),
    ]
    for expected, call in cases:
        before = len(service.received)
        with pytest.raises(expected):
            call()  # type: ignore[operator]
        assert len(service.received) <= before + 1


def test_a_missing_key_is_named(service: StandIn) -> None:
    with Client(service.url) as client, pytest.raises(Refused) as error:
        client.inspect(LINE, GOOD)
    assert "DEFECTLOOP_API_KEY" in error.value.next_step


@pytest.mark.parametrize("fault", ["garbage", "500"])
def test_an_answer_of_something_else_is_no_verdict(client: Client, service: StandIn, fault: str) -> None:
    service.faults = [fault]
    with pytest.raises(Unreachable):
        client.inspect(LINE, GOOD)
    assert len(service.received) == 1


@pytest.mark.parametrize("url", ["station:8484", "ftp://station", "http://", "http://station:port", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="address"):
        Client(url)


def test_waits_double_with_jitter_up_to_a_limit() -> None:
    assert all(0.1 <= backoff_s(2, 0.05) <= 0.2 for _ in range(50))
    assert backoff_s(1000, 0.1, 5.0) <= 5.0


def test_retry_after_is_read_as_seconds_or_date() -> None:
    assert retry_after_s("3") == 3
    assert 55 < (retry_after_s(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


def test_the_client_imports_neither_the_loop_nor_the_runtime() -> None:
    code = "import sys, pipelines.client; print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "mlflow", "sqlalchemy", "prefect", "numpy", "onnxruntime", "pandas", "dvc", "fastapi", "pydantic"}
    assert not set(shown) & heavy
