"""All lines of one service process, and what they share: decoder, cores, metrics."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from models.errors import BadParams
from pipelines.serving.config import Serve
from pipelines.serving.cores import Cores
from pipelines.serving.decoding import DecodingPool
from pipelines.serving.engine import LineEngine
from pipelines.serving.errors import NotFound, Overloaded
from pipelines.serving.measures import Measures
from pipelines.workspace import Workspace


class Service:
    """The engines of all lines. Open it with `with`; leaving the block finishes what was accepted."""

    def __init__(self, workspaces: Sequence[Workspace], settings: Serve) -> None:
        self.settings = settings
        self.measures = Measures()
        cores = os.cpu_count() or 1
        self._stack = contextlib.ExitStack()
        self.lines: dict[str, LineEngine] = {}
        with contextlib.ExitStack() as opening:
            # A core each for decoding and inference, and threads that wait for disks meanwhile.
            self.workers = ThreadPoolExecutor(2 * cores + 4, thread_name_prefix="inspects")
            opening.callback(self.workers.shutdown)
            limits = settings.decoding
            self.decoder = opening.enter_context(
                DecodingPool(limits.workers or cores, time_limit_s=limits.time_s, memory_limit_mb=limits.memory_mb)
            )
            shared = Cores(cores)
            for workspace in workspaces:
                line = workspace.params().line
                if line in self.lines:
                    raise BadParams(
                        f"{workspace.root} and {self.lines[line].workspace.root} are both line {line}.",
                        next_step="Give each line a name of its own in params.yaml.",
                    )
                engine = LineEngine(
                    workspace,
                    self.decoder.decode,
                    self.measures,
                    shared,
                    shadow=settings.shadow,
                    spool_mb=settings.spool_mb,
                )
                opening.callback(engine.close)
                self.lines[line] = engine
            self._stack = opening.pop_all()
        self._waiting: dict[str, int] = dict.fromkeys(self.lines, 0)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def line(self, name: str) -> LineEngine:
        """Raises NotFound for a line that this process does not serve."""
        try:
            return self.lines[name]
        except KeyError:
            served = ", ".join(self.lines)
            raise NotFound(f"Line {name} is not served here.", next_step=f"Lines of this service: {served}.") from None

    @contextlib.contextmanager
    def place(self, line: str) -> Iterator[None]:
        """Take a place among the requests of a line during the block. Raises Overloaded when all are taken."""
        if self._waiting[line] >= self.settings.queue:
            self.measures.overloaded.labels(line).inc()
            raise Overloaded(
                f"{self._waiting[line]} requests of line {line} are waiting.",
                next_step="Send the request again in a moment.",
            )
        self._waiting[line] += 1
        try:
            yield
        finally:
            self._waiting[line] -= 1

    def waiting(self, line: str) -> int:
        return self._waiting[line]
