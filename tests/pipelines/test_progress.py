"""Long work tells its progress in a log: which work, how far, and what is left."""

from __future__ import annotations

import time

import pytest

from pipelines import progress


def test_a_log_gets_lines_with_the_work_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    with progress.working("train"):
        time.sleep(0.2)
        with progress.bar("features", 4) as show:
            show(2)
            time.sleep(0.2)
    said = capsys.readouterr().err.splitlines()
    assert "    train: 0 s so far" in said
    assert any(row.startswith("    train, features: 2 of 4, about 0 s left") for row in said)
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_short_work_says_nothing_and_a_tracked_item_is_counted_when_it_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress.track("images", "abc", 3)) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="broken"), progress.working("audit"):
        raise ValueError("broken")
    assert progress._running == []
    assert capsys.readouterr().err == ""


def test_what_is_left_follows_from_the_items_so_far() -> None:
    outer, inner = progress._Work("replay", began=0.0), progress._Work("images", 300, done=100, began=20.0)
    assert progress.line([outer, inner], 120.0) == "replay, images: 100 of 300, about 3 min left, 2 min so far"
    inner.done = 0
    assert progress.line([outer, inner], 50.0) == "replay, images: 50 s so far"
