"""MQTT: images in, verdicts out, once each, whatever is killed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from models.errors import BadInput
from pipelines.connectors import mqtt_messages
from tests.pipelines.connectors.plant import ROOT, Connecting, connecting, wait_for
from tests.pipelines.connectors.stand_in import GOOD, SCRATCHED, StandIn

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs a broker that keeps sessions: apt install mosquitto"
)


class Broker:
    """A real broker that can be killed: Mosquitto, which keeps its sessions on disk, or else amqtt, which keeps none."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {"listener": f"{self.port} 127.0.0.1", "allow_anonymous": "true", "persistence": "true"}
        settings |= {"persistence_location": f"{folder}/", "autosave_on_changes": "true", "autosave_interval": "1"}
        settings |= {"user": "root"} if os.geteuid() == 0 else {}
        self.settings = folder / "mosquitto.conf"
        self.settings.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "tests.pipelines.connectors.broker", str(self.port)]
        if MOSQUITTO:
            words = [MOSQUITTO, "-c", str(self.settings)]
        self.process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_for(self._listens)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Machine:
    """A machine on the broker: it publishes images and collects verdicts by topic."""

    def __init__(self, broker: Broker) -> None:
        self.verdicts: dict[str, list[dict]] = {}
        self._lock = threading.Lock()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="machine", clean_session=False)
        self.client.on_connect = lambda client, *_: client.subscribe([("out/#", 1), ("status", 1)])
        self.client.on_message = self._received
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        wait_for(self.client.is_connected)

    def _received(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            payload = json.loads(message.payload) if message.topic != "status" else {"status": message.payload.decode()}
            self.verdicts.setdefault(message.topic, []).append(payload)

    def publish(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(30)

    def end(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture
def machine(broker: Broker) -> Iterator[Machine]:
    machine = Machine(broker)
    yield machine
    machine.end()


def line(
    place: Path, service: StandIn, broker: Broker, **settings: object
) -> contextlib.AbstractContextManager[Connecting]:
    topics = {"images": "in/{part}/{view}", "verdicts": "out/{part}/{view}", "status": "status", "keepalive_s": 5}
    mqtt = {"plant": {"host": "127.0.0.1", "port": broker.port, **topics, **settings}}
    return connecting(place, service, {}, mqtt=mqtt)


def subscribed(program: Connecting, times: int = 1) -> None:
    program.says("mqtt.plant: connected", times)


@needs_mosquitto
@pytest.mark.slow
def test_messages_are_inspected_once_while_connector_and_service_are_killed(
    tmp_path: Path, service: StandIn, broker: Broker, machine: Machine
) -> None:
    pictures = {f"in/p{number}/top": (SCRATCHED if number % 2 else GOOD) + b"%d" % number for number in range(10)}
    sent = list(pictures.items())
    with line(tmp_path, service, broker) as program:
        program.start()
        subscribed(program)
        service.faults = ["lost", "503"]
        for topic, data in sent[:3]:
            machine.publish(topic, data)
        wait_for(lambda: len(machine.verdicts) >= 4, lambda: program.log)  # and the status
        service.kill()
        for topic, data in sent[3:5]:
            machine.publish(topic, data)
        program.says("service: waiting")
        program.kill()  # it holds a message that it has not acknowledged
        for topic, data in sent[5:8]:
            machine.publish(topic, data)  # while it is down
        service.start()
        program.start()
        subscribed(program, 2)
        for topic, data in sent[8:]:
            machine.publish(topic, data)
        wait_for(lambda: len(machine.verdicts) == 11, lambda: f"{program.log}\n{sorted(machine.verdicts)}")
        assert program.stop() == 0
        wait_for(lambda: machine.verdicts["status"][-1] == {"status": "offline"})
    assert sorted(row["part"] for row in service.inspections) == sorted(f"p{number}" for number in range(10))
    for topic, data in sent:
        [verdict, *again] = machine.verdicts[topic.replace("in/", "out/")]
        assert verdict["verdict"] == ("fail" if SCRATCHED in data else "pass")
        assert all(other["inspection"] == verdict["inspection"] for other in again)
    assert {"status": "online"} in machine.verdicts["status"]


@needs_mosquitto
def test_verdicts_reach_the_machine_after_the_broker_was_killed(
    tmp_path: Path, service: StandIn, broker: Broker, machine: Machine
) -> None:
    with line(tmp_path, service, broker) as program:
        program.start()
        subscribed(program)
        service.faults = ["slow"]
        machine.publish("in/p1/top", GOOD)
        wait_for(lambda: service.received)
        broker.kill()  # the connector has the message and waits for the service
        wait_for(lambda: service.rows)
        program.says("not connected")
        program.kill()  # the verdict is in the spool
        broker.start()
        wait_for(machine.client.is_connected)
        time.sleep(0.2)  # until the machine has subscribed anew
        program.start()
        wait_for(lambda: "out/p1/top" in machine.verdicts, lambda: program.log)
        machine.publish("in/p1/top", GOOD)  # the machine has forgotten that it had asked
        wait_for(lambda: len(machine.verdicts["out/p1/top"]) == 2, lambda: program.log)
        assert len(service.rows) == 1
        assert [one["inspection"] for one in machine.verdicts["out/p1/top"]] == [1, 1]


def test_json_messages_name_files_below_the_folder(
    tmp_path: Path, service: StandIn, broker: Broker, machine: Machine
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(SCRATCHED)
    (tmp_path / "secret.png").write_bytes(GOOD)
    settings = {"images": "in", "verdicts": "out/{part}", "payload": "json", "folder": str(images)}
    messages: list[dict] = [
        {"id": "1", "part": "p/1", "view": "top", "path": "a.png"},
        {"id": "2", "part": "p2", "image": base64.b64encode(GOOD).decode()},
        {"id": "3", "part": "p3", "path": "../secret.png"},
        {"id": "4", "part": "p4", "image": base64.b64encode(b"torn").decode()},
    ]
    with line(tmp_path, service, broker, **settings) as program:
        program.start()
        subscribed(program)
        machine.publish("in", b"{no json")
        for message in messages:
            machine.publish("in", json.dumps(message).encode())
        wait_for(lambda: len(machine.verdicts) == 6, lambda: f"{program.log}\n{machine.verdicts}")
    answers = {topic: found[0] for topic, found in machine.verdicts.items()}
    assert answers["out/p_x002F_1"]["verdict"] == "fail"
    assert (answers["out/p2"]["verdict"], answers["out/p2"]["id"]) == ("pass", "2")
    assert "is not below" in answers["out/p3"]["error"]["message"]
    assert "decoded" in answers["out/p4"]["error"]["message"]
    assert "not JSON" in answers["out/-"]["error"]["message"]
    assert len(service.rows) == 2


def test_topics_carry_part_and_view() -> None:
    pattern = "plant/{part}/cam/{view}"
    assert mqtt_messages.subscription(pattern) == "plant/+/cam/+"
    assert mqtt_messages.in_topic(pattern, "plant/A_x002F_7/cam/-") == {"part": "A/7"}
    assert mqtt_messages.filled(pattern, {"part": "A/+7", "view": None}) == "plant/A_x002F__x002B_7/cam/-"
    for wrong in ("a/+/b", "a/#", "a/x{part}", "{part}/{part}", ""):
        with pytest.raises(ValueError, match=r"topic|placeholder"):
            mqtt_messages.placeholders(wrong)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"[]", "object"),
        (b'{"image": "a"}', "base64"),
        (b'{"image": "aGk=", "path": "x"}', "either"),
        (b"{}", "either"),
        (b'{"image": 3}', "text"),
        (b'{"image": "aGk=", "colour": "red"}', "colour"),
        (b'{"image": "' + b"aGk=" * 100 + b'"}', "base64|more than"),
    ],
)
def test_a_message_of_another_shape_is_told_what_is_wrong(payload: bytes, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        mqtt_messages.asked(payload, "json", {}, 100)
