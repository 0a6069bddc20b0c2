"""OPC UA: one trigger of the PLC is one inspection, whatever connection breaks."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua

from pipelines.connectors import opc_ua_handshake
from pipelines.connectors.opc_ua_handshake import Step
from tests.pipelines.connectors.plant import connecting, wait_for
from tests.pipelines.connectors.stand_in import GOOD, SCRATCHED, StandIn

NUMBERED = {
    "trigger": ua.VariantType.UInt32,
    "path": ua.VariantType.String,
    "part": ua.VariantType.String,
    "view": ua.VariantType.String,
    "verdict": ua.VariantType.Int16,
    "score": ua.VariantType.Float,
    "model_version": ua.VariantType.String,
    "inspection": ua.VariantType.UInt32,
    "message": ua.VariantType.String,
    "done": ua.VariantType.UInt32,
    "heartbeat": ua.VariantType.UInt16,
}
SWITCHED = NUMBERED | {
    "trigger": ua.VariantType.Boolean,
    "done": ua.VariantType.Boolean,
    "verdict": ua.VariantType.String,
}
ZERO = {ua.VariantType.String: "", ua.VariantType.Boolean: False, ua.VariantType.Float: 0.0}


class Plc:
    """A PLC with an OPC UA server, which can be switched off; it remembers its values."""

    def __init__(self, types: dict[str, ua.VariantType]) -> None:
        self.types = types
        self.values: dict[str, Any] = {name: ZERO.get(kind, 0) for name, kind in types.items()}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"opc.tcp://127.0.0.1:{free.getsockname()[1]}"
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.start()

    def start(self) -> None:
        self._run(self._start())

    async def _start(self) -> None:
        self.server = Server()
        await self.server.init()
        self.server.set_endpoint(self.url)
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        space = await self.server.register_namespace("plc")
        assert space == 2
        folder = await self.server.nodes.objects.add_object(space, "Inspect")
        self.nodes = {}
        for name, kind in self.types.items():
            node = await folder.add_variable(ua.NodeId(name, space), name, self.values[name], kind)
            await node.set_writable()
            self.nodes[name] = node
        await self.server.start()

    def stop(self) -> None:
        self.values = {name: self.read(name) for name in self.types}
        self._run(self.server.stop())

    def read(self, name: str) -> Any:
        return self._run(self.nodes[name].read_value())

    def write(self, **values: Any) -> None:
        for name, value in values.items():
            self._run(self.nodes[name].write_value(ua.Variant(value, self.types[name])))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def end(self) -> None:
        self._run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("asyncua").setLevel(logging.NOTSET)


@pytest.fixture
def plc(request: pytest.FixtureRequest) -> Iterator[Plc]:
    plc = Plc(getattr(request, "param", NUMBERED))
    yield plc
    plc.end()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes((SCRATCHED if number % 2 else GOOD) + b"%d" % number)
    return folder


def settings(plc: Plc, images: Path) -> dict:
    nodes = {name: f"ns=2;s={name}" for name in plc.types}
    return {"press": {"url": plc.url, "folder": str(images), "nodes": nodes, "poll_s": 0.1, "heartbeat_s": 0.1}}


@pytest.mark.slow
def test_a_trigger_is_one_inspection_while_plc_service_and_connector_are_killed(
    tmp_path: Path, service: StandIn, plc: Plc, images: Path
) -> None:
    with connecting(tmp_path, service, {}, opcua=settings(plc, images)) as program:

        def trigger(number: int) -> None:
            plc.write(path=f"{number}.png", part=f"p{number}", view="top", trigger=number)

        def answered(number: int) -> None:
            wait_for(lambda: plc.read("done") == number, lambda: program.log)
            assert plc.read("verdict") == opc_ua_handshake.CODES["fail" if number % 2 else "pass"]
            assert service.inspections[plc.read("inspection") - 1]["part"] == f"p{number}"

        program.start()
        trigger(1)
        answered(1)
        assert (plc.read("model_version"), round(plc.read("score"), 3)) == ("2", 0.988)
        service.faults = ["slow"]
        trigger(2)
        wait_for(lambda: len(service.received) == 2, lambda: program.log)
        plc.stop()  # while the service inspects
        wait_for(lambda: len(service.rows) == 2, lambda: program.log)
        program.says("opcua.press: not connected")
        plc.start()
        answered(2)
        service.kill()
        trigger(3)
        program.says("service: waiting")
        program.kill()
        service.start()
        program.start()
        answered(3)
        heartbeat = plc.read("heartbeat")
        wait_for(lambda: plc.read("heartbeat") != heartbeat)
        program.kill()
        program.start()
        program.says("opcua.press: connected", 4)
        trigger(4)
        answered(4)
        assert program.stop() == 0
    assert [row["part"] for row in service.inspections] == ["p1", "p2", "p3", "p4"]


@pytest.mark.parametrize("plc", [SWITCHED], indirect=True)
def test_a_boolean_trigger_is_answered_and_reset(tmp_path: Path, service: StandIn, plc: Plc, images: Path) -> None:
    with connecting(tmp_path, service, {}, opcua=settings(plc, images)) as program:
        program.start()
        for number in (1, 2):
            plc.write(path=f"{number}.png", part=f"p{number}", trigger=True)
            wait_for(lambda: plc.read("done"), lambda: program.log)
            assert plc.read("verdict") == ("fail" if number % 2 else "pass")
            plc.write(trigger=False)
            wait_for(lambda: not plc.read("done"), lambda: program.log)
    assert [row["part"] for row in service.inspections] == ["p1", "p2"]


@pytest.mark.slow
def test_what_cannot_be_inspected_is_told_to_the_plc(tmp_path: Path, service: StandIn, plc: Plc, images: Path) -> None:
    (images / "torn.png").write_bytes(b"torn")
    with connecting(tmp_path, service, {}, opcua=settings(plc, images)) as program:
        program.start()
        for number, (path, told) in enumerate(
            {"torn.png": "decoded", "absent.png": "cannot be read", "../x": "below", "": "directory"}.items(), 1
        ):
            plc.write(path=path, part="p1", trigger=number)
            wait_for(lambda number=number: plc.read("done") == number, lambda: program.log)
            assert plc.read("verdict") == opc_ua_handshake.ERROR_CODE
            assert told in plc.read("message"), plc.read("message")
        plc.write(path="1.png", trigger=5)
        wait_for(lambda: plc.read("done") == 5, lambda: program.log)
        assert (plc.read("verdict"), plc.read("message")) == (opc_ua_handshake.CODES["fail"], "")


@pytest.mark.slow
def test_a_missing_node_is_named(tmp_path: Path, service: StandIn, plc: Plc, images: Path) -> None:
    connector = settings(plc, images)
    connector["press"]["nodes"]["verdict"] = "ns=2;s=Verdikt"
    with connecting(tmp_path, service, {}, opcua=connector) as program:
        program.start()
        program.says("connectors.opcua.press.nodes.verdict: ns=2;s=Verdikt")


@pytest.mark.parametrize(
    ("trigger", "done", "expected"),
    [
        (0, 0, Step.WAIT),
        (1, 0, Step.INSPECT),
        (1, 1, Step.WAIT),
        (2, 1, Step.INSPECT),
        (1, 65535, Step.INSPECT),
        (None, None, Step.WAIT),
        (False, False, Step.WAIT),
        (True, False, Step.INSPECT),
        (True, True, Step.WAIT),
        (False, True, Step.RESET),
    ],
)
def test_trigger_and_done_say_what_is_due(trigger: Any, done: Any, expected: Step) -> None:
    assert opc_ua_handshake.step(trigger, done) is expected


def test_values_take_the_type_of_their_node() -> None:
    assert opc_ua_handshake.in_type("fail", False, True) == 3
    assert opc_ua_handshake.in_type("fail", True, False) == "fail"
    assert opc_ua_handshake.in_type("12", False, True) == 12
    assert opc_ua_handshake.in_type(0.5, False, False) == 0.5
    assert opc_ua_handshake.in_type(None, True, False) == ""
    assert opc_ua_handshake.in_type(None, False, True) == 0
