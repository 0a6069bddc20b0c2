"""A service that is killed under load loses no acknowledged inspection and answers no request twice differently."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.images import codec
from pipelines.client import Client
from pipelines.image_files.image_store import open_store
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.serving import keys
from pipelines.workspace import Workspace
from tests.kept.unpacked import unpacked
from tests.pipelines.serving.versions import add_version, set_alias

CLIENTS = 4


def start(workspace: Workspace, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    words = ("serve", "--workspace", str(workspace.root), "--port", str(port), "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


def picture(number: int) -> bytes:
    return codec.encode_png(np.random.default_rng(number).integers(90, 160, (64, 64, 1), dtype=np.uint8))


@pytest.mark.slow
def test_a_kill_under_load_and_changes_of_champion_lose_nothing(tmp_path: Path) -> None:
    workspace = unpacked(tmp_path)
    add_version(workspace, 2)
    _, key_text = keys.create(keys.folder(workspace), "line", keys.Role.STATION)
    process, url = start(workspace)
    port = int(url.rsplit(":", 1)[1])
    acknowledged: list[tuple[str, dict]] = []
    stop = threading.Event()

    def load(worker: int) -> None:
        with Client(url, key_text, deadline_s=120) as client:
            number = 0
            while not stop.is_set():
                key = f"{worker}-{number}"
                sent = {"part": f"B-{key}", "key": key}
                acknowledged.append((key, client.inspect("widgets", picture(number % 50), **sent)))
                if number % 7 == 0:  # a station that does not know whether its answer arrived
                    acknowledged.append((key, client.inspect("widgets", picture(number % 50), **sent)))
                number += 1

    threads = [threading.Thread(target=load, args=(worker,)) for worker in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 1, 2):
            before = len(acknowledged)
            set_alias(workspace, "champion", version)
            wait_for(lambda: len(acknowledged) > before + 100)  # noqa: B023
            process.kill()
            process.wait()
            process, _ = start(workspace, port)
        before = len(acknowledged)
        wait_for(lambda: len(acknowledged) > before + 50)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) is not None

    store = open_store(workspace.store_url)
    with Ledger.open(workspace.ledger_url) as ledger:
        stored = inspections.requested(ledger, "widgets", {key for key, _ in acknowledged})
        parts = Counter(record.part for record in inspections.latest(ledger, "widgets", 1_000_000))
    for key, answered in acknowledged:
        record = stored[key]
        assert isinstance(record, inspections.Inspection)
        assert (record.id, record.verdict, record.score, record.model_version) == (
            answered["inspection"],
            answered["verdict"],
            answered["score"],
            answered["model_version"],
        )
        assert store.exists(record.image)
    assert {parts[f"B-{key}"] for key, _ in acknowledged} == {1}


def wait_for(condition, limit_s: float = 120) -> None:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)
