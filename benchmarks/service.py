"""What the inspection service adds to the bare runtime, beside `mlflow models serve`. Run: python -m benchmarks.service

The same network and the same pictures (PNG, 300 × 300) for all. They are measured by turns, so that a machine that gets busy
slows all alike. The clients run on the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from benchmarks import page
from benchmarks.speed import SIDE_PX, sealed
from models.detector.runtime import INPUT, OUTPUTS, Detector, as_input
from models.images import codec
from pipelines import initialise
from pipelines.adapters import model_registry, tracking
from pipelines.serving import keys
from pipelines.workspace import Workspace

LINE = "speed"
CLIENTS = 8
BARS = {
    "one client: service / bare runtime, median": (2.0, "at most"),
    "one client: service / MLflow, median": (1 / 6, "at most"),
    "one client: p99 / median": (3.0, "at most"),
    "eight clients: service / bare runtime, images/s": (0.8, "at least"),
}


@dataclass
class Times:
    """Seconds of each request, and of the whole rounds."""

    each: list[float] = field(default_factory=list)
    rounds: list[tuple[int, float]] = field(default_factory=list)  # requests, seconds

    @property
    def median_ms(self) -> float:
        return statistics.median(self.each) * 1e3

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.each, 99)) * 1e3

    @property
    def per_second(self) -> float:
        return statistics.median(number / seconds for number, seconds in self.rounds)


def run(call: Callable[[], object], clients: int, requests: int, into: Times) -> None:
    """Let every client make its share of the requests, one after the other."""

    def one(_: int) -> list[float]:
        taken = []
        for _ in range(requests // clients):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return taken

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(one, range(clients)))
    into.rounds.append((sum(map(len, each)), time.perf_counter() - began))
    into.each += itertools.chain.from_iterable(each)


def pictures(count: int = 50) -> list[bytes]:
    """Pictures with smooth and rough places, as photographs have."""
    random = np.random.default_rng(0)
    grid = np.linspace(0, 6, SIDE_PX)
    made = []
    for _ in range(count):
        smooth = 120 + 40 * np.sin(grid[:, None] + random.random() * 6) * np.cos(grid[None] * random.random() * 3)
        noisy = smooth + random.normal(0, 3, smooth.shape)
        made.append(codec.encode_png(np.clip(noisy, 0, 255).astype(np.uint8)[..., None]))
    return made


def with_champion(where: Path, image_size_px: int) -> tuple[Workspace, Path]:
    """Return a workspace whose champion is a network that learned nothing."""
    sealed(where, "tf_efficientnet_lite0", image_size_px)
    workspace = initialise.init(where / "workspace", LINE)
    folder = Path(str(workspace.artifact_root)) / LINE
    folder.mkdir(parents=True)
    artefact = folder / model_registry.FILE
    (where / "detector.onnx").replace(artefact)
    (folder / model_registry.REFERENCE).write_bytes(b"")
    client = tracking.client(workspace)
    client.create_registered_model(LINE)
    tags = {tag: model_registry.sha256(folder / name) for name, tag in model_registry.HASH_TAGS.items()}
    version = client.create_model_version(LINE, str(folder), tags=tags)
    client.set_registered_model_alias(LINE, model_registry.CHAMPION, version.version)
    return workspace, artefact


@contextlib.contextmanager
def process(words: list[str], port: int, ready: str, log: Path) -> Iterator[int]:
    """Run a server until the end of the block. Yields its process id."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # MLflow starts uvicorn by name
    environment = os.environ | {"PATH": programs}
    with log.open("wb") as sink:
        server = subprocess.Popen(words, stdout=sink, stderr=sink, env=environment, start_new_session=True)
    try:
        ends = time.monotonic() + 120
        while time.monotonic() < ends and server.poll() is None:
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5) as answer:
                if answer.status == 200:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(log.read_text())
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


class Connections:
    """A connection for each client, kept open."""

    def __init__(self, port: int) -> None:
        self._port, self._own = port, threading.local()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection = self._own.connection
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"{answer.status}: {text.decode()[:500]}")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 1e6


def measure(where: Path, image_size_px: int, rounds: int, requests: int) -> tuple[dict[str, Times], float, float]:
    """Return the times by name, the service's seconds until it was ready, and its memory in MB."""
    workspace, artefact = with_champion(where, image_size_px)
    stock = [as_input(codec.decode(data)) for data in pictures()]
    sent = itertools.cycle(pictures())
    numbers = itertools.count()
    detector = Detector(artefact)
    single = Detector(artefact, threads=1)

    def bare(chosen: Detector) -> Callable[[], object]:
        return lambda: chosen.session.run(OUTPUTS, {INPUT: stock[next(numbers) % len(stock)]})

    _, key = keys.create(keys.folder(workspace), "benchmark", keys.Role.STATION)
    port, other = free_port(), free_port()
    flavour = where / "mlflow-model"
    mlflow_model(artefact, flavour)
    words = [sys.executable, "-m", "flows.cli", "serve", "-w", str(workspace.root), "--port", str(port)]
    rival = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(flavour), "--env-manager", "local"]
    names = ("bare", "service", "mlflow", "bare, eight", "service, eight")
    times = {name: Times() for name in names}
    began = time.monotonic()
    with (
        process(words, port, "/readyz", where / "service.log") as pid,
        contextlib.ExitStack() as stack,
    ):
        ready_s = time.monotonic() - began
        stack.enter_context(process([*rival, "-p", str(other)], other, "/ping", where / "mlflow.log"))
        service, theirs = Connections(port), Connections(other)
        arrays = [json.dumps({"inputs": {INPUT: array.tolist()}}).encode() for array in stock[:8]]

        def inspect() -> None:
            number = next(numbers)
            data = next(sent) + number.to_bytes(8, "big")  # a new image for the store, with the same pixels
            query = f"part=B-{number}&view=top"
            service.post(
                f"/v1/lines/{LINE}/inspections?{query}",
                data,
                {"Content-Type": "image/png", "Authorization": f"Bearer {key}"},
            )

        def invoke() -> None:
            theirs.post("/invocations", arrays[next(numbers) % 8], {"Content-Type": "application/json"})

        run(inspect, CLIENTS, 80, Times())  # the first requests fill caches
        run(invoke, 1, 4, Times())
        for _ in range(rounds):
            run(bare(detector), 1, requests, times["bare"])
            run(inspect, 1, requests, times["service"])
            run(invoke, 1, max(requests // 10, 3), times["mlflow"])
            run(bare(single), CLIENTS, 4 * requests, times["bare, eight"])
            run(inspect, CLIENTS, 4 * requests, times["service, eight"])
        return times, ready_s, memory_mb(pid)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def mlflow_model(artefact: Path, folder: Path) -> None:
    import mlflow.onnx
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    pixels = Schema([TensorSpec(np.dtype(np.uint16), (-1, -1, -1, -1), INPUT)])
    mlflow.onnx.save_model(onnx.load(artefact), str(folder), signature=ModelSignature(pixels))


def ratios(times: dict[str, Times]) -> dict[str, float]:
    return dict(
        zip(
            BARS,
            (
                times["service"].median_ms / times["bare"].median_ms,
                times["service"].median_ms / times["mlflow"].median_ms,
                times["service"].p99_ms / times["service"].median_ms,
                times["service, eight"].per_second / times["bare, eight"].per_second,
            ),
            strict=True,
        )
    )


def report(times: dict[str, Times], ready_s: float, memory: float) -> str:
    rows = [
        [name, f"{one.median_ms:.1f} ms", f"{one.p99_ms:.1f} ms", f"{one.per_second:.0f}"]
        for name, one in times.items()
    ]
    held = [
        [name, f"{value:.2f}", f"{direction} {bar:.2f}", "yes" if keeps(name, value) else "**no**"]
        for (name, value), (bar, direction) in zip(ratios(times).items(), BARS.values(), strict=True)
    ]
    return (
        page.table(["", "median", "p99", "images/s"], rows)
        + "\n\n"
        + page.table(["ratio", "measured", "bar", "holds"], held)
        + f"\n\nReady after {ready_s:.1f} s, {memory:.0f} MB with one line and its decoding processes. The service decodes "
        "and describes the image, stores it and commits the record before it answers; MLflow gets the pixels as JSON, and "
        "stores nothing."
    )


def keeps(name: str, value: float) -> bool:
    bar, direction = BARS[name]
    return value <= bar if direction == "at most" else value >= bar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.image_size, arguments.rounds, arguments.requests)
    text = report(*measured)
    print(text)
    if arguments.write:
        page.write("The inspection service", text, page.DETECTORS)
    if not all(keeps(name, value) for name, value in ratios(measured[0]).items()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
