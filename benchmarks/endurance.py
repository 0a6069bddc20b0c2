"""Minutes of load on the service, with changes of champion and a SIGKILL in the middle. Run: python -m benchmarks.endurance

Afterwards every acknowledged inspection must be in the ledger once, as it was answered, with its image in the store, and
the memory must not have grown since the first tenth of the time before and after the kill.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import page
from benchmarks.service import LINE, free_port, pictures, with_champion
from pipelines.adapters import model_registry, tracking
from pipelines.client import Client
from pipelines.image_files.image_store import open_store
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.serving import keys
from pipelines.workspace import Workspace

CLIENTS = 4
SWAP_S = 60.0
MAX_GROWTH = 0.05


@dataclass
class Result:
    acknowledged: int
    lost: int
    doubled: int
    different: int  # answered otherwise than stored
    versions: Counter[str]
    growth: list[float]  # of the memory of each process, from its first fifth to its last, as a share

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.different) and max(self.growth) <= MAX_GROWTH


def measure(where: Path, seconds: float, image_size_px: int) -> Result:
    workspace, _ = with_champion(where, image_size_px)
    client = tracking.client(workspace)
    first = client.get_model_version(LINE, "1")
    second = client.create_model_version(LINE, first.source, tags=dict(first.tags))
    _, key = keys.create(keys.folder(workspace), "load", keys.Role.STATION)
    port, stop = free_port(), threading.Event()
    answers: list[tuple[str, dict]] = []
    sent = pictures()
    numbers = itertools.count()

    def load() -> None:
        with Client(f"http://127.0.0.1:{port}", key, deadline_s=300) as station:
            while not stop.is_set():
                number = next(numbers)
                data = sent[number % len(sent)] + number.to_bytes(8, "big")
                own = f"request {number}"
                answers.append((own, station.inspect(LINE, data, part=f"B-{number}", key=own)))

    threads = [threading.Thread(target=load) for _ in range(CLIENTS)]
    growth = []
    service = started(workspace, port)
    for thread in threads:
        thread.start()
    for half in range(2):
        growth.append(watched(service, seconds / 2, client, (first.version, second.version)))
        if half == 0:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
            service = started(workspace, port)
    stop.set()
    for thread in threads:
        thread.join()
    os.killpg(service.pid, signal.SIGTERM)
    service.wait(60)
    return compared(workspace, answers, growth)


def started(workspace: Workspace, port: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "flows.cli", "serve", "-w", str(workspace.root), "--port", str(port)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def watched(service: subprocess.Popen[bytes], seconds: float, client: object, versions: tuple[str, str]) -> float:
    """Change the champion every minute. Returns how much the memory grew."""
    memory: list[float] = []
    alternately = itertools.cycle(reversed(versions))
    began = changed = time.monotonic()
    while time.monotonic() < began + seconds:
        time.sleep(1)
        memory.append(psutil.Process(service.pid).memory_info().rss)
        if time.monotonic() > changed + SWAP_S:
            changed = time.monotonic()
            client.set_registered_model_alias(LINE, model_registry.CHAMPION, next(alternately))  # type: ignore[attr-defined]
    fifth = max(len(memory) // 5, 1)
    early = memory[fifth : 2 * fifth] or memory  # the first fifth loads models and fills caches
    return statistics.median(memory[-fifth:]) / statistics.median(early) - 1


def compared(workspace: Workspace, answers: list[tuple[str, dict]], growth: list[float]) -> Result:
    store = open_store(workspace.store_url)
    with Ledger.open(workspace.ledger_url) as ledger:
        stored = inspections.requested(ledger, LINE, {key for key, _ in answers})
        parts = Counter(item.part for item in inspections.latest(ledger, LINE, 10_000_000))
    result = Result(len(answers), 0, sum(n > 1 for n in parts.values()), 0, Counter(), growth)
    for key, answer in answers:
        record = stored.get(key)
        if record is None or not store.exists(record.image):
            result.lost += 1
            continue
        assert isinstance(record, inspections.Inspection)
        result.different += (record.id, record.verdict, record.model_version, record.score) != (
            answer["inspection"],
            answer["verdict"],
            answer["model_version"],
            answer["score"],
        )
        result.versions[record.model_version] += 1
    return result


def report(result: Result, seconds: float) -> str:
    by_version = ", ".join(f"{n:,} by version {version}" for version, n in sorted(result.versions.items()))
    grown = " and ".join(f"{share:+.1%}" for share in result.growth)
    return (
        f"{CLIENTS} clients for {seconds / 60:.0f} minutes, a new champion every {SWAP_S:.0f} s, a SIGKILL half way: "
        f"{result.acknowledged:,} acknowledged ({by_version}), {result.lost} lost, {result.doubled} stored twice, "
        f"{result.different} answered otherwise than stored. Growth of memory before and after the kill: {grown}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.seconds, arguments.image_size)
    text = report(result, arguments.seconds)
    print(text)
    if arguments.write:
        page.write("The inspection service under load", text, page.DETECTORS)
    if not result.holds:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
