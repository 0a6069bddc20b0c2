"""The champion of a line while the service runs: loaded and tried before it replaces the present one.

A request is judged by the detector that it started with. The former champion stays loaded, so that a rollback takes effect
with the next look at the registry.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.detector.runtime import Detector
from models.errors import DefectloopError
from models.vocabulary import Prediction
from pipelines import deadlines
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ARTEFACT, CHALLENGER
from pipelines.inspection import champion_on_disk
from pipelines.inspection.judging import Judge
from pipelines.ledger import withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

log = logging.getLogger(__name__)

SPIN_US = 100  # longer than the pauses within an image; the cores are then free for decoding and storing
TRIED = 3  # images on which both sessions of a detector have to agree


@dataclass(frozen=True)
class State:
    """Who judges now. `problem` says why there is no champion, or why the registry does not confirm it."""

    champion: Judge | None = None
    former: Judge | None = None
    challenger: Judge | None = None
    problem: str | None = None


class Champions:
    """Champion and challenger of one line. `state` is replaced as a whole, so readers see one moment of it."""

    def __init__(self, workspace: Workspace, line: str, ledger: Ledger, *, with_challenger: bool) -> None:
        self.workspace, self.line, self._ledger, self._with_challenger = workspace, line, ledger, with_challenger
        self.state = State()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.check()

    def watch(self, every_s: float) -> None:
        """Look at the registry every `every_s` seconds, in a thread."""

        def run() -> None:
            while not self._stopping.wait(every_s):
                self.check()

        self._thread = threading.Thread(target=run, name=f"champion {self.line}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join(deadlines.verdict_s() + 1)

    def check(self) -> None:
        """Compare with the registry and replace what changed. Problems are kept in `state`, and logged when they change."""
        try:
            champion, problem = self._champion()
        except DefectloopError as error:
            champion, problem = self.state.champion, error.message
        except Exception as error:  # a damaged file or a full disk must not end the watch
            champion, problem = self.state.champion, f"The champion cannot be loaded: {error}."
        before = self.state
        former = before.champion if champion is not before.champion and before.champion else before.former
        self.state = replace(before, champion=champion, former=former, problem=problem)
        if champion and champion is not before.champion:
            log.info("Line %s is inspected by version %s.", self.line, champion.version)
        if problem != before.problem:
            log.warning("Line %s: %s", self.line, problem or "the registry answers again.")
        if not problem:
            self._look_at_challenger()

    def _champion(self) -> tuple[Judge | None, str | None]:
        """Return the present champion, loaded, and why the registry does not confirm it."""
        if self.state.champion is None:
            on_disk = champion_on_disk.load(self.workspace, self.line)
            return self._loaded(on_disk.version, on_disk.path), on_disk.unconfirmed
        with deadlines.together(deadlines.verdict_s()):
            named = model_registry.champion(self.workspace, self.line)
        if named is None:
            return self.state.champion, f"Line {self.line} has no champion any more; the last one inspects."
        for loaded in (self.state.champion, self.state.former):
            if loaded and loaded.version == named.version and loaded.detector.sha256 == named.tags.get(ARTEFACT):
                return loaded, None
        on_disk = champion_on_disk.load(self.workspace, self.line)  # verifies the file against its registered hash
        if on_disk.unconfirmed:
            return self.state.champion, on_disk.unconfirmed
        return self._loaded(on_disk.version, on_disk.path), None

    def _look_at_challenger(self) -> None:
        try:
            challenger = self._challenger() if self._with_challenger else None
        except DefectloopError as error:
            log.warning("The challenger of line %s cannot be loaded: %s", self.line, error.message)
            challenger = None
        self.state = replace(self.state, challenger=challenger)

    def _challenger(self) -> Judge | None:
        """Return the version with the alias `challenger`, unless it is the champion or was withdrawn."""
        number = model_registry.alias(self.workspace, self.line, CHALLENGER)
        present = self.state.challenger
        if number is None or (self.state.champion and self.state.champion.version == number):
            return None
        if present and present.version == number:
            return present
        version = model_registry.version(self.workspace, self.line, number)
        path = model_registry.download(self.workspace, version)
        if withdrawals.of(self._ledger, self.line, number, path.parent.name):
            return None
        return self._loaded(number, path)

    def _loaded(self, version: str, path: Path) -> Judge:
        """Load a detector and let it answer, so that its first request is as fast as any.

        A second session with all cores is for requests that come alone. It is only used if its answers are the same to the
        last bit: the same image always gets the same score.
        """
        detector, together = Detector(path, threads=1), Detector(path, spin_us=SPIN_US)
        side = detector.metadata.image_size_px
        tried = np.random.default_rng(0).integers(0, 256, (TRIED, side, side, 1), dtype=np.uint8)
        same = together.threads > 1 and all(_same(detector.predict(one), together.predict(one)) for one in tried)
        if together.threads > 1 and not same:
            log.warning("Version %s answers differently on several cores; each image uses one.", version)
        return Judge(self.line, detector, version, together if same and together.sha256 == detector.sha256 else None)


def _same(first: Prediction, second: Prediction) -> bool:
    arrays = ("heatmap", "embedding", "projection")
    scores = (first.score, first.raw_score, first.class_probabilities) == (
        second.score,
        second.raw_score,
        second.class_probabilities,
    )
    return scores and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
