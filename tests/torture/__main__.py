"""`python -m tests.torture`: disturb commands at random, run them again, and print what did not end as it should."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture import forks

if TYPE_CHECKING:
    from tests.torture.campaign import Campaign, Trial, Undisturbed

HEAVY_EVERY = 4  # rounds: a heavy command takes many times as long as the others


def main() -> int:
    asked = options()
    print(f"seed {asked.seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="defectloop-torture-"))
    deadline = time.monotonic() + asked.seconds
    trials: list[Trial] = []
    try:
        forks.prepare(root)
        from tests.torture.campaign import Campaign

        campaign = Campaign(root, asked.seed, programs=asked.programs)
        references = undisturbed(campaign, asked.only or asked.until)
        for number, chosen in schedule(references, asked.only, asked.trial):
            if len(trials) >= asked.trials or (asked.trial is None and time.monotonic() > deadline):
                break
            trials.append(campaign.trial(number, chosen))
            if trials[-1].wrong or asked.trial is not None:
                print(in_words(trials[-1], asked.seed), flush=True)
    except KeyboardInterrupt:
        print("Interrupted.")
    finally:
        if asked.keep:
            print(f"Kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(table(trials, asked.seed))
    return int(not trials or any(trial.wrong for trial in trials))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="no trial begins later, preparation included"
    )
    parser.add_argument("--trials", type=float, default=float("inf"), help="no more than these")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--until", help="only the commands up to this one")
    parser.add_argument("--only", help="only this command")
    parser.add_argument("--trial", type=int, help="only the trial of this number, of the command that --only names")
    parser.add_argument(
        "--programs", action="store_true", help="some trials as programs of their own, with all imports"
    )
    parser.add_argument("--keep", action="store_true", help="keep the directory, as the last trial left it")
    return parser.parse_args()


def undisturbed(campaign: Campaign, last: str | None) -> list[Undisturbed]:
    campaign.begin()
    while reference := campaign.next_step():
        print(f"  undisturbed: {reference.step.name}, {reference.n_seams} seams, {reference.took_s:.1f} s", flush=True)
        if reference.step.name == last:
            break
    return campaign.undisturbed


def schedule(
    references: Sequence[Undisturbed], only: str | None, trial: int | None
) -> Iterator[tuple[int, Undisturbed]]:
    """Trials by number, for ever: one command after the other, the heavy ones not in every round."""
    if trial is not None:
        yield trial, references[-1]
        return
    numbers = itertools.count(1)
    for turn in itertools.count():
        for one in [references[-1]] if only else references:
            if only or not one.step.heavy or turn % HEAVY_EVERY == HEAVY_EVERY - 1:
                yield next(numbers), one


def in_words(trial: Trial, seed: int) -> str:
    lines = [f"{'✗' if trial.wrong else '✓'} trial {trial.number}, {trial.step}"]
    lines += [f"    {fault}" for fault in trial.faults]
    lines += [f"  - {what}" for what in trial.wrong[:8]]
    lines += [f"  - … and {len(trial.wrong) - 8} more"] if len(trial.wrong) > 8 else []
    lines.append(f'  again: make torture SEED={seed} ONLY="{trial.step}" TRIAL={trial.number}')
    return "\n".join(lines)


def table(trials: Sequence[Trial], seed: int) -> str:
    rows = [f"{'command':26}{'trials':>8}{'faults':>8}{'failed':>8}   seed {seed}, trials that failed"]
    faults: Counter[str] = Counter()
    for trial in trials:
        faults[trial.step] += len(trial.faults)
    for name, n_faults in faults.items():
        mine = [trial for trial in trials if trial.step == name]
        failed = [str(trial.number) for trial in mine if trial.wrong]
        rows.append(f"{name:26}{len(mine):8}{n_faults:8}{len(failed):8}   {' '.join(failed[:12])}")
    n_failed = sum(bool(trial.wrong) for trial in trials)
    rows.append(f"{'together':26}{len(trials):8}{sum(faults.values()):8}{n_failed:8}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
