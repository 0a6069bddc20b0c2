"""All connectors with the real service: one inspection in the ledger for each image, whatever is killed."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipelines.connectors.opc_ua_handshake import CODES
from tests.conftest import picture
from tests.kept.unpacked import unpacked
from tests.pipelines.connectors.plant import ROOT, Connecting, configure, wait_for
from tests.pipelines.connectors.test_mqtt import Broker, Machine, needs_mosquitto
from tests.pipelines.connectors.test_opc_ua import NUMBERED, Plc, settings
from tests.pipelines.connectors.test_webhook import SECRET, Receiver

COMMAND = [sys.executable, "-m", "flows.cli"]


class Service:
    """`defectloop serve` as a process of its own, which can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def key(self) -> str:
        """Return a key for a station, or nothing from a service that knows no keys."""
        words = ["keys", "create", "--name", "connectors", "--role", "station", "--workspace", str(self.root), "--json"]
        made = subprocess.run([*COMMAND, *words], env=self.environment, capture_output=True, text=True)
        return str(json.loads(made.stdout)["key"]) if made.returncode == 0 else ""

    def start(self) -> None:
        with (self.root / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--workspace", str(self.root), "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wait_for(self._is_ready, lambda: (self.root / "serve.log").read_text())

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def ledger(root: Path) -> dict[str, list[str]]:
    """The verdicts in the ledger, by part."""
    found: dict[str, list[str]] = {}
    with sqlite3.connect(f"file:{root / '.defectloop' / 'ledger.db'}?mode=ro", uri=True) as database:
        for part, verdict in database.execute("SELECT part, verdict FROM inspections WHERE part LIKE 'p%'"):
            found.setdefault(part, []).append(verdict)
    return found


@pytest.mark.slow
@needs_mosquitto
def test_every_source_gets_the_verdicts_of_the_service(tmp_path: Path) -> None:
    root, camera, images, state = unpacked(tmp_path).root, *(tmp_path / name for name in ("camera", "images", "broker"))
    for folder in (camera, images, state):
        folder.mkdir()
    for number in range(4):
        (images / f"{number}.png").write_bytes(picture(200 + number, defective=number % 2 == 1))
    service, receiver, broker, plc = Service(root), Receiver(), Broker(state), Plc(NUMBERED)
    machine = Machine(broker)
    program = Connecting(root, {"SECRET": SECRET, "DEFECTLOOP_API_KEY": service.key()})
    configure(
        root,
        service.url,
        folders={"one": {"path": str(camera), "part_from": r"(p\w+)\.png", "settle_s": 0.1, "rescan_s": 0.5}},
        mqtt={"plant": {"host": "127.0.0.1", "port": broker.port, "images": "in/{part}", "verdicts": "out/{part}"}},
        opcua=settings(plc, images),
        webhooks={"mes": {"url": f"http://127.0.0.1:{receiver.port}/", "secret_env": "SECRET", "poll_s": 0.1}},
    )

    def send(number: int) -> None:
        defective = number % 2 == 1
        (camera / f"pfolder{number}.png").write_bytes(picture(number, defective=defective))
        machine.publish(f"in/pmqtt{number}", picture(100 + number, defective=defective))
        plc.write(path=f"{number}.png", part=f"popcua{number}", trigger=number)

    def answered(number: int) -> bool:
        moved = (camera / "done" / f"pfolder{number}.png").exists()
        return moved and f"out/pmqtt{number}" in machine.verdicts and plc.read("done") == number

    try:
        service.start()
        program.start()
        program.says("mqtt.plant: connected")
        send(1)
        wait_for(lambda: answered(1), lambda: program.log)
        service.kill()
        send(2)
        program.says("service: waiting")
        program.kill()
        service.start()
        program.start()
        wait_for(lambda: answered(2), lambda: program.log)
        send(3)
        wait_for(lambda: answered(3), lambda: program.log)
        parts = {f"p{source}{number}" for source in ("folder", "mqtt", "opcua") for number in (1, 2, 3)}
        found = ledger(root)
        assert set(found) == parts
        assert all(len(verdicts) == 1 for verdicts in found.values()), found
        for number in (1, 2, 3):
            done = json.loads((camera / "done" / f"pfolder{number}.png.json").read_text())
            assert done["verdict"] == found[f"pfolder{number}"][0]
            assert machine.verdicts[f"out/pmqtt{number}"][0]["verdict"] == found[f"pmqtt{number}"][0]
        assert plc.read("verdict") == CODES[found["popcua3"][0]]
        late = {part for part in parts if not part.endswith("1")}
        wait_for(lambda: late <= set(receiver.parts), lambda: f"{program.log}\n{receiver.parts}")
        assert all(receiver.valid)
        assert program.stop() == 0
    finally:
        for ending in (program.process, service.process):
            if ending is not None and ending.poll() is None:
                ending.kill()
        machine.end()
        broker.kill()
        receiver.kill()
        plc.end()


@pytest.mark.slow
def test_inspect_prints_the_answers_of_the_service(tmp_path: Path) -> None:
    root = unpacked(tmp_path).root
    service = Service(root)
    environment = service.environment | {"DEFECTLOOP_API_KEY": service.key()}
    names = {"top.png": picture(1, defective=True), "left.png": picture(2, defective=False), "torn.png": b"torn"}
    for name, data in names.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in names]
    common = ["--part", "p7", "--view", "top", "--view", "left", "--view", "back"]
    try:
        service.start()
        asked = [*COMMAND, "inspect", *paths, *common, "--url", service.url, "--heatmaps", str(tmp_path / "heat")]
        there = subprocess.run(asked, env=environment, cwd=tmp_path, capture_output=True, text=True)
    finally:
        service.kill()
    asked = [*COMMAND, "inspect", *paths, *common, "--workspace", str(root), "--heatmaps", str(tmp_path / "heat")]
    here = subprocess.run(asked, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (there.returncode, here.returncode) == (2, 2), there.stderr + here.stderr
    remote, local = ([json.loads(row) for row in done.stdout.splitlines()] for done in (there, here))
    for one, other in zip(remote, local, strict=True):
        assert list(one) == list(other)
        same = ("part", "view", "verdict", "score", "regions", "model_version", "unread")
        assert {name: one.get(name) for name in same} == {name: other.get(name) for name in same}
    assert all(Path(row["heatmap"]).read_bytes().startswith(b"\x89PNG") for row in (remote[0], local[0]))
