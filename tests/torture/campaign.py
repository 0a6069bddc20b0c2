"""The trials: each takes one command, one fault and one moment from its seed, runs the command again, and compares."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.torture import endings, forks
from tests.torture.commands import STEPS, Action, Step, program, write_deliveries
from tests.torture.endings import Ending
from tests.torture.faults import Fault, Kind, Seams, kill

BUSY = 6
LONGEST_S, LEAVE_S = 300.0, 20.0
MOST_FAULTS = 3  # of one trial: each interrupts what the one before left
STARTS_S = 8.0  # what a program of its own takes longer
SHARES = {Kind.SEAM: 0.52, Kind.TIME: 0.2, Kind.FULL: 0.1, Kind.LIMIT: 0.05, Kind.TWICE: 0.1, Kind.PROGRAM: 0.03}


@dataclass(frozen=True)
class Undisturbed:
    """What one command does when nothing goes wrong. `before` is a copy of everything as it was."""

    step: Step
    before: Path
    ending: Ending
    n_seams: int
    took_s: float


@dataclass(frozen=True)
class Trial:
    number: int
    step: str
    faults: tuple[str, ...]
    wrong: tuple[str, ...]  # nothing: it held


@dataclass
class Campaign:
    """All of it lies below `root`; a trial always runs in `root/now`, for paths are in what is compared."""

    root: Path
    seed: int
    programs: bool  # some trials as programs of their own, which take long
    steps: Sequence[Step] = STEPS
    seams: Seams = field(default_factory=Seams)
    undisturbed: list[Undisturbed] = field(default_factory=list)
    started: list[int] = field(default_factory=list)  # sessions of the present trial

    @property
    def now(self) -> Path:
        return self.root / "now"

    def begin(self) -> None:
        self.now.mkdir(parents=True)
        self._run_well(write_deliveries)

    def next_step(self) -> Undisturbed | None:
        """Run the next command undisturbed, and keep what was there before and what it came to."""
        if len(self.undisturbed) == len(self.steps):
            return None
        step = self.steps[len(self.undisturbed)]
        before = self.root / "before" / str(len(self.undisturbed))
        self._at_start_of_next()
        _copy(self.now, before)
        self.seams.reset()
        began = time.monotonic()
        self._run_well(step.run, lambda: self.seams.install(None, 0, self.now))
        result = Undisturbed(step, before, self._ending(), self.seams.count, time.monotonic() - began)
        _copy(self.now, self.root / "after")
        self.undisturbed.append(result)
        return result

    def trial(self, number: int, reference: Undisturbed) -> Trial:
        """Disturb the command, run it until it ends by itself, and say what is not as it should be."""
        chance = random.Random(f"{self.seed} {number}")
        _copy(reference.before, self.now)
        struck: list[str] = []
        wrong: list[str] = []
        for _ in range(chance.randint(1, MOST_FAULTS) if chance.random() < 0.3 else 1):
            fault = a_fault(chance, reference.step, programs=self.programs)
            struck.append(self._disturb(reference, fault, wrong))
        log = self.now / forks.LOG
        log.unlink(missing_ok=True)
        code = self._wait(self._start(reference.step.run), wrong)
        if code not in reference.step.ends:
            wrong.append(f"run again, it ended with {code}: {_last_lines(_text(log))}")
        self._end_what_is_left(wrong)
        wrong += endings.differences(reference.ending, self._ending())
        return Trial(number, reference.step.name, tuple(struck), tuple(wrong))

    def _at_start_of_next(self) -> None:
        """Where the last undisturbed run ended, with what is arranged after it."""
        if not self.undisturbed:
            return
        _copy(self.root / "after", self.now)
        arrange = self.undisturbed[-1].step.arrange
        if arrange is not None:
            self._run_well(arrange)

    def _disturb(self, reference: Undisturbed, fault: Fault, wrong: list[str]) -> str:
        """One run with the fault; returns what happened in words, and adds to `wrong` what must not happen."""
        self.seams.reset()
        log = self.now / forks.LOG
        log.unlink(missing_ok=True)
        if fault.kind is Kind.TWICE:
            pids = [self._start(reference.step.run) for _ in range(2)]
            codes = [self._wait(pid, wrong) for pid in pids]
            if set(codes) - {*reference.step.ends, BUSY}:
                wrong.append(f"two at once ended with {codes}: {_last_lines(_text(log))}")
            return fault.kind.value
        took_s = reference.took_s
        if fault.kind is Kind.PROGRAM:
            took_s += STARTS_S
            pid = self._start(program(*reference.step.words))
        else:
            pid = self._start(reference.step.run, lambda: self.seams.install(fault, reference.n_seams, self.now))
        if fault.kind in (Kind.TIME, Kind.PROGRAM):
            time.sleep(fault.moment * took_s)
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                kill(pid, fault)
        code = self._wait(pid, wrong)
        if fault.kind in (Kind.FULL, Kind.LIMIT) and code not in reference.step.ends:
            wrong += [f"{fault.kind}: {what}" for what in unclear(_text(log))]
        moment = f"at {fault.moment * took_s:.2f} s" if fault.kind in (Kind.TIME, Kind.PROGRAM) else "not reached"
        return f"{fault.kind}{' alone' if fault.alone else ''}, {self.seams.reached or moment}, code {code}"

    def _start(self, action: Action, before: Callable[[], None] = lambda: None) -> int:
        pid = forks.start(action, self.now, before)
        self.started.append(pid)
        return pid

    def _wait(self, pid: int, wrong: list[str]) -> int | None:
        """The exit code; one that does not end is killed, which is wrong."""
        code = forks.wait(pid, LONGEST_S)
        if code is None:
            wrong.append(f"it still ran after {LONGEST_S:.0f} s: {_last_lines(_text(self.now / forks.LOG))}")
            os.killpg(pid, signal.SIGKILL)
            forks.wait(pid)
        return code

    def _end_what_is_left(self, wrong: list[str]) -> None:
        deadline = time.monotonic() + LEAVE_S
        while (left := forks.left(self.started)) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            wrong.append(f"{len(left)} processes outlived it")
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        self.started.clear()

    def _run_well(self, action: Action, before: Callable[[], None] = lambda: None) -> None:
        log = self.now / forks.LOG
        log.unlink(missing_ok=True)
        code = forks.wait(self._start(action, before))
        if code:
            raise RuntimeError(f"Undisturbed, it ended with {code}:\n{_text(log)}")

    def _ending(self) -> Ending:
        path = self.root / "ending.json"
        path.unlink(missing_ok=True)
        if forks.wait(forks.start(lambda: endings.write(path), self.now)):
            return {"unreadable": _last_lines(_text(self.now / forks.LOG))}
        return dict(json.loads(path.read_text()))


def a_fault(chance: random.Random, step: Step, *, programs: bool) -> Fault:
    """Always the same for the same state of `chance`, as far as the step knows that kind."""
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    fault = Fault(kind, chance.random(), alone=chance.random() < 0.3, after=chance.random() < 0.5)
    if kind is Kind.TWICE and not step.repeatable:
        return replace(fault, kind=Kind.SEAM)
    if kind is Kind.PROGRAM and not (programs and step.words):
        return replace(fault, kind=Kind.TIME)
    return fault


def unclear(output: str) -> list[str]:
    """What a command that failed must not leave out: a sentence of its own."""
    return [] if "✗" in output else [f"no sentence: {_last_lines(output)}"]


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-600:]


def _copy(source: Path, target: Path) -> None:
    """Everything with its times; hard links stay such."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(target)], check=True)
