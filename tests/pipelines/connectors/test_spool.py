"""The spool keeps what it accepted, and says when it is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import BadData
from pipelines.connectors.spool import Spool, SpoolFull


def keys(spool: Spool, queue: str, now: float = 100.0) -> list[str]:
    return [waiting.key for waiting in spool.due(queue, now)]


def test_messages_wait_in_their_order_until_they_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 1e6)
    spool.put("a", [("1", {"n": 1}), ("2", {"n": 2})], 1.0, position=7)
    spool.put("b", [("1", {"n": 3})], 1.0)
    spool.put("a", [("1", {"n": 1})], 1.0)  # it waits already
    assert (keys(spool, "a"), keys(spool, "b")) == (["1", "2"], ["1"])
    [first, _] = spool.due("a", 100.0)
    spool.postpone(first, 200.0)
    assert keys(spool, "a") == ["2"]
    [first, second] = spool.due("a", 300.0)
    assert (first.body, first.attempts) == ({"n": 1}, 1)
    spool.remove(second)
    spool.close()
    again = Spool(tmp_path / "spool.db", 1e6)
    assert keys(again, "a", 300.0) == ["1"]
    assert (again.position("a"), again.position("b"), again.waiting("a")) == (7, None, 1)


def test_a_full_spool_takes_nothing_and_moves_no_position(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 100)
    spool.put("a", [("1", "x" * 60)], 1.0, position=1)
    with pytest.raises(SpoolFull):
        spool.put("a", [("2", "x" * 60)], 1.0, position=2)
    assert (keys(spool, "a"), spool.position("a")) == (["1"], 1)
    spool.remove(spool.due("a", 2.0)[0])
    spool.put("a", [("2", "x" * 60)], 1.0, position=2)
    assert (keys(spool, "a"), spool.position("a")) == (["2"], 2)


def test_what_was_put_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipelines.connectors.spool import Spool;"
        "spool = Spool(Path(sys.argv[1]), 1e6); spool.put('a', [('1', 'x')], 1.0); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "spool.db")]).returncode == -9
    assert keys(Spool(tmp_path / "spool.db", 1e6), "a") == ["1"]


def test_a_damaged_spool_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"no database " * 100)
    with pytest.raises(BadData, match=r"spool\.db"):
        Spool(tmp_path / "spool.db", 1e6)
