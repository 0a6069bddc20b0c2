"""The inspection of one line in the service: from the bytes of a request to a durable, acknowledged record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models import names
from models.errors import NotReady
from models.vocabulary import Prediction
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import open_store
from pipelines.inspection import judging
from pipelines.inspection.judging import Answer, Arrived, Inspected, Judge, Production, Rejected
from pipelines.ledger.inspections import Record
from pipelines.ledger.ledger import Ledger
from pipelines.serving.champions import Champions
from pipelines.serving.commits import GroupCommit
from pipelines.serving.cores import Cores
from pipelines.serving.decoding import Decoded
from pipelines.serving.measures import Measures
from pipelines.serving.shadow import Shadow
from pipelines.serving.spool import Spool
from pipelines.workspace import Workspace

WATCH_S = 1.0  # a new champion inspects within this time
MB = 1_000_000


class LineEngine:
    """One line: champion, image store, ledger. Thread-safe. `close` finishes what was accepted."""

    def __init__(
        self,
        workspace: Workspace,
        decode: Callable[[bytes], Decoded],
        measures: Measures,
        cores: Cores,
        *,
        shadow: bool,
        spool_mb: int,
    ) -> None:
        params = workspace.params()
        self.workspace, self.line, self.measures = workspace, params.line, measures
        self.rules = params.inspect
        self.ledger = Ledger.open(workspace.ledger_url)
        folder = workspace.state / "spool" / "images"
        self.images = Spool(open_store(workspace.store_url), folder, largest_bytes=spool_mb * MB)
        self.commits = GroupCommit(self.ledger, self.line)
        self.shadow = Shadow(self.ledger, self.line, cores) if shadow else None
        wanted = shadow or self.rules.canary_share > 0
        self.champions = Champions(workspace, self.line, self.ledger, with_challenger=wanted)
        self.champions.watch(WATCH_S)
        self.decode, self._cores = decode, cores
        self._keepers = ThreadPoolExecutor(8, thread_name_prefix=f"keeps images {names.for_tools(self.line)}")

    def close(self) -> None:
        self.champions.close()
        if self.shadow:
            self.shadow.close()
        self._keepers.shutdown()
        self.commits.close()
        self.images.close()
        self.ledger.__exit__(None, None, None)

    def inspect(self, item: Production, source: str) -> Answer:
        """Judge an image and return the answer when image and record are durable.

        A repeated request gets the answer that is stored. Raises NotReady without a champion, and Unreachable if the image
        or the record cannot be stored; then nothing was acknowledged and the request may be sent again.
        """
        with self._cores.entered() as alone:
            return self._inspect(item, source, alone)

    def _inspect(self, item: Production, source: str, alone: bool) -> Answer:
        one = judging.arrive(item)
        judge = self._judge_of(one.part)
        kept = self._keepers.submit(self._keep, one)
        try:
            record, prediction, pixels = self._judged(one, judge.with_all_cores() if alone else judge, source)
        finally:
            kept.result()
        with self.measures.timed(self.line, "commit"):
            stored, image_deleted = self.commits.store(record)
            if image_deleted and stored is record:
                deleted_images.keep(self.ledger, self.images.put, {one.image: one.data})
        answer = judging.answer(one, stored, prediction, first=stored is record)
        if isinstance(answer, Rejected) and not answer.repeated:
            self.measures.rejected.labels(self.line).inc()
        if isinstance(answer, Inspected) and not answer.repeated:
            self.measures.verdict(self.line, answer.record)
            challenger = self.champions.state.challenger
            if self.shadow and pixels is not None and challenger and challenger.version != judge.version:
                self.shadow.offer(challenger, pixels, answer.record)
        return answer

    def _keep(self, one: Arrived) -> None:
        with self.measures.timed(self.line, "store"):
            self.images.put(one.data, one.image)

    def _judged(self, one: Arrived, judge: Judge, source: str) -> tuple[Record, Prediction | None, np.ndarray | None]:
        decoded: list[np.ndarray] = []

        def decode(data: bytes) -> judging.Decoded:
            with self.measures.timed(self.line, "decode"):
                image = self.decode(data)
            waited = time.perf_counter()
            self._cores.acquire()
            self.measures.observe(self.line, "queue", time.perf_counter() - waited)
            decoded.append(image.pixels)
            return image.pixels, image.described

        try:
            with self.measures.timed(self.line, "judge"):
                record, prediction = judging.judge(one, judge, source, decode)
        finally:
            if decoded:
                self._cores.release()
        return record, prediction, decoded[0] if decoded else None

    def _judge_of(self, part: str) -> Judge:
        """Return the champion, or the challenger for its share of the parts."""
        state = self.champions.state
        if state.champion is None:
            raise NotReady(state.problem or f"Line {self.line} has no champion.", next_step="defectloop train")
        if state.challenger and in_canary(part, state.challenger.version, self.rules.canary_share):
            return state.challenger
        return state.champion


def in_canary(part: str, version: str, share: float) -> bool:
    """Return whether a challenger judges this part. All views of a part get the same answer, in every process."""
    number = int.from_bytes(hashlib.sha256(f"{version}/{part}".encode()).digest()[:8], "big")
    return number < share * 2**64
