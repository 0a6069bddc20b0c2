"""Decisions of hosts that share nothing but the ledger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger

DECIDE = """
import sys, time
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now
from pathlib import Path
url, name, here = sys.argv[1:]
with Ledger.open(url) as ledger:
    follows = promotions.newest(ledger, "widgets")
    (Path(here) / name).touch()
    while len(list(Path(here).glob("host*"))) < 2:  # both have looked before either writes
        time.sleep(0.01)
    try:
        promotions.add(ledger, Promotion(line="widgets", kind="promote", version=name, champion_before=None, reasons=[],
                                         numbers={}, state="pending", decided_at=now(), follows=follows))
        print("decided")
    except promotions.Overtaken:
        print("overtaken")
"""


def test_of_two_processes_that_decide_at_once_one_is_told_to_look_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger.open(url)
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", DECIDE, url, f"host{number}", str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    assert sorted(host.communicate(timeout=60)[0].strip() for host in hosts) == ["decided", "overtaken"]
    with Ledger.open(url) as ledger:
        assert len(promotions.all_of(ledger, "widgets")) == 1
