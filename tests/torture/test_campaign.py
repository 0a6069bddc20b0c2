"""A short campaign with every `make test`. Each commit has a seed of its own, so that what failed fails again; TORTURE_SEED
chooses another one, and `make torture` goes on for as long as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.adapters import git

ROOT = Path(__file__).parents[2]
TRIALS = 16
LAST, LAST_OF_FEW = "export", "review"  # a detector costs half a minute: one seed of four goes that far


def of_this_commit() -> int:
    return int(git.head(ROOT)[:5], 16) if (ROOT / ".git").exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_that_were_disturbed_end_as_undisturbed_ones_when_run_again() -> None:
    seed = int(os.environ["TORTURE_SEED"]) if "TORTURE_SEED" in os.environ else of_this_commit()
    last = LAST_OF_FEW if seed % 4 == 0 else LAST
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--seed", str(seed), "--trials", str(TRIALS), "--until", last],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    sys.stdout.write(done.stdout)
