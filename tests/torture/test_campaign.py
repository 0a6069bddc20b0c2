"""A short campaign with every `make test`; its seed stands in the output, and TORTURE_SEED repeats it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

TRIALS = 16
LAST, LAST_OF_FEW = "handover", "review"  # a detector costs half a minute: one seed of four goes that far


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_that_were_disturbed_end_as_undisturbed_ones_when_run_again() -> None:
    seed = int(os.environ.get("TORTURE_SEED", random.SystemRandom().randrange(10**6)))
    last = LAST_OF_FEW if seed % 4 == 0 else LAST
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--seed", str(seed), "--trials", str(TRIALS), "--until", last],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    sys.stdout.write(done.stdout)
