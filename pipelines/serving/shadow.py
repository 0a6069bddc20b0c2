"""A challenger sees the images that the champion answered. Its verdicts are stored and never answered."""

from __future__ import annotations

import logging
import queue
import threading

import numpy as np

from pipelines.inspection.judging import Judge
from pipelines.ledger import shadows
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, ShadowVerdict, now
from pipelines.serving.cores import Cores

log = logging.getLogger(__name__)

LONGEST = 16  # waiting images; under load the challenger skips some, because answers come first


class Shadow:
    def __init__(self, ledger: Ledger, line: str, cores: Cores) -> None:
        self._ledger, self._line, self._cores = ledger, line, cores
        self._waiting: queue.Queue[tuple[Judge, np.ndarray, Inspection] | None] = queue.Queue()
        self.skipped = 0
        self._thread = threading.Thread(target=self._run, name=f"shadow {line}", daemon=True)
        self._thread.start()

    def offer(self, judge: Judge, pixels: np.ndarray, answered: Inspection) -> None:
        """Let the challenger judge an image when there is time for it."""
        if self._waiting.qsize() >= LONGEST:
            self.skipped += 1
        else:
            self._waiting.put((judge, pixels, answered))

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (next_one := self._waiting.get()) is not None:
            judge, pixels, answered = next_one
            try:
                self._cores.acquire()
                try:
                    prediction = judge.detector.predict(pixels)
                finally:
                    self._cores.release()
                verdict = ShadowVerdict(
                    line=self._line,
                    inspection_id=answered.id,
                    model_version=judge.version,
                    artefact_sha256=judge.detector.sha256,
                    score=prediction.score,
                    raw_score=prediction.raw_score,
                    verdict=judge.detector.verdict(prediction.score).value,
                    judged_at=now(),
                )
                shadows.add(self._ledger, verdict)
            except Exception:  # answers do not depend on it
                self.skipped += 1
                log.exception("The challenger of line %s could not judge inspection %d.", self._line, answered.id)
