"""Webhooks: every verdict of the line arrives, signed, whatever is killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.client import Client
from pipelines.connectors import webhook_signature
from tests.pipelines.connectors.plant import Connecting, connecting, wait_for
from tests.pipelines.connectors.stand_in import GOOD, KEY, LINE, SCRATCHED, StandIn

SECRET = "a secret that both sides know"


class Receiver:
    """A receiver of deliveries, which can be killed and told to refuse."""

    def __init__(self) -> None:
        self.accepted: dict[str, dict] = {}  # by delivery id
        self.times: dict[str, int] = {}
        self.valid: list[bool] = []
        self.faults: list[int] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fault = receiver.faults.pop(0) if receiver.faults else 204
                if fault == 204:
                    receiver.take(self.headers, body)
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self, headers: Any, body: bytes) -> None:
        delivery = headers[webhook_signature.DELIVERY]
        self.valid.append(
            webhook_signature.is_valid(
                SECRET, headers[webhook_signature.TIMESTAMP], headers[webhook_signature.SIGNATURE], body, time.time()
            )
        )
        self.accepted[delivery] = json.loads(body)
        self.times[delivery] = self.times.get(delivery, 0) + 1

    @property
    def parts(self) -> list[str]:
        return [document["inspection"]["part"] for document in self.accepted.values()]

    def kill(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.kill()


def started(program: Connecting) -> None:
    program.start()
    program.says("webhooks.mes: sends")


def settings(receiver: Receiver, **more: object) -> dict:
    return {"mes": {"url": f"http://127.0.0.1:{receiver.port}/hook", "secret_env": "SECRET", "poll_s": 0.1, **more}}


def known_position(program: Connecting) -> bool:
    from pipelines.connectors.spool import Spool

    spool = Spool(program.root / ".defectloop" / "spool" / "connectors" / "spool.db", 1e6)
    try:
        return spool.position("webhooks.mes") is not None
    finally:
        spool.close()


@pytest.mark.slow
def test_every_verdict_arrives_while_receiver_service_and_connector_are_killed(
    tmp_path: Path, service: StandIn, receiver: Receiver
) -> None:
    with (
        Client(service.url, KEY) as station,
        connecting(tmp_path, service, {"SECRET": SECRET}, webhooks=settings(receiver)) as program,
    ):

        def inspect(first: int, last: int) -> None:
            for number in range(first, last):
                station.inspect(LINE, SCRATCHED if number % 2 else GOOD, part=f"p{number}")

        inspect(0, 2)  # before the webhook existed: not sent
        started(program)
        wait_for(lambda: known_position(program), lambda: program.log)
        inspect(2, 4)
        wait_for(lambda: len(receiver.accepted) == 2, lambda: program.log)
        receiver.kill()
        inspect(4, 6)
        program.says("does not answer")
        program.kill()
        inspect(6, 8)
        service.kill()
        program.start()
        program.says("waits for new verdicts, because")
        service.start()
        receiver.faults = [500, 503]
        receiver.start()
        inspect(8, 10)
        wait_for(lambda: len(receiver.accepted) == 8, lambda: program.log)
        assert program.stop() == 0
    assert sorted(receiver.parts) == [f"p{number}" for number in range(2, 10)]
    assert all(receiver.valid)
    document = receiver.accepted[next(iter(receiver.accepted))]
    assert document["inspection"]["verdict"] in ("pass", "fail")
    assert document["delivery"] in receiver.accepted


def test_only_the_chosen_verdicts_are_sent(tmp_path: Path, service: StandIn, receiver: Receiver) -> None:
    with (
        Client(service.url, KEY) as station,
        connecting(tmp_path, service, {"SECRET": SECRET}, webhooks=settings(receiver, verdicts=["fail"])) as program,
    ):
        started(program)
        wait_for(lambda: known_position(program), lambda: program.log)
        for number in range(4):
            station.inspect(LINE, SCRATCHED if number % 2 else GOOD, part=f"p{number}")
        wait_for(lambda: len(receiver.accepted) == 2, lambda: program.log)
        assert receiver.parts == ["p1", "p3"]
        service.rows.clear()  # another ledger, whose numbers begin again
        station.inspect(LINE, SCRATCHED, part="new")
        wait_for(lambda: len(receiver.accepted) == 3, lambda: program.log)


def test_an_inspection_that_was_judged_first_and_stored_last_is_found() -> None:
    from pipelines.connectors.webhook import STRETCH, _After

    numbers = [9, 7, 8, 6, *range(5, 5 - STRETCH, -1), 100]  # by time, the newest first; 100 is too far away
    new = _After(7)
    assert [row["inspection"] for row in new.rows({"inspection": number} for number in numbers)] == [9, 8]
    assert new.highest == 9


def test_a_signature_holds_for_its_body_and_time_alone() -> None:
    signed = webhook_signature.signature("s", 1000, b"body")
    assert webhook_signature.is_valid("s", "1000", signed, b"body", 1100.0)
    assert not webhook_signature.is_valid("t", "1000", signed, b"body", 1100.0)
    assert not webhook_signature.is_valid("s", "1000", signed, b"other", 1100.0)
    assert not webhook_signature.is_valid("s", "1001", signed, b"body", 1100.0)
    assert not webhook_signature.is_valid("s", "1000", signed, b"body", 2000.0)
    assert not webhook_signature.is_valid("s", "soon", signed, b"body", 1100.0)
