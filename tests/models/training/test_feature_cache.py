"""Caches know what they hold: by content, by the code that made it, and what is damaged is made anew."""

from __future__ import annotations

import ast
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from models import code_version as code_versions
from models.code_version import code_version
from models.training.feature_cache import BLOCK, FEATURE_CODE, FeatureCache


class Counting:
    """A way of computing rows that counts how often it is asked for which."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, names: Sequence[str]) -> list[np.ndarray]:
        self.asked += names
        return [np.full(3, float(name), np.float32) for name in names]


def named(n: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, first + n)]


def test_what_was_computed_once_is_read_in_the_order_asked_for(tmp_path: Path) -> None:
    compute = Counting()
    FeatureCache(tmp_path, "v").rows(named(150), compute)
    again = Counting()
    rows = FeatureCache(tmp_path, "v").rows(["149", "3", "3", "77"], again)
    assert rows[:, 0].tolist() == [149, 3, 3, 77]
    assert (len(compute.asked), again.asked) == (150, [])


def test_only_the_blocks_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FeatureCache(tmp_path, "v").rows(named(10 * BLOCK), Counting())
    read: list[str] = []
    real = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, key: (read.append(key), real(self, key))[1])
    FeatureCache(tmp_path, "v").rows(["5"], Counting())
    assert read.count("features") == 1


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: flipped(data)])
def test_a_damaged_block_heals(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    FeatureCache(tmp_path, "v").rows(named(3 * BLOCK), Counting())
    block = sorted((tmp_path / "v").glob("*.npz"))[1]
    block.write_bytes(damage(block.read_bytes()))
    compute = Counting()
    rows = FeatureCache(tmp_path, "v").rows(named(3 * BLOCK), compute)
    assert rows[:, 0].tolist() == list(range(3 * BLOCK))
    assert len(compute.asked) == BLOCK
    assert FeatureCache(tmp_path, "v").missing(named(3 * BLOCK)) == []


def flipped(data: bytes) -> bytes:
    """One bit of the features is another one; the file is as long as before and opens."""
    at = len(data) * 3 // 4
    while data[at : at + 8] == bytes(8) and at > 0:
        at -= 1
    features = data.index(b"features.npy") + 200
    return data[:features] + bytes([data[features] ^ 1]) + data[features + 1 :]


def test_other_code_reads_nothing_of_the_old_and_drops_it(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "old").rows(named(5), Counting())
    (tmp_path / "from-before-versions.npz").write_bytes(b"")
    compute = Counting()
    FeatureCache(tmp_path, "new").rows(named(5), compute)
    assert compute.asked == named(5)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    results: list[np.ndarray] = []

    def work(first: int) -> None:
        results.append(FeatureCache(tmp_path, "v").rows(named(200, first), Counting()))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 0, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert FeatureCache(tmp_path, "v").missing(named(350)) == []
    assert not list((tmp_path / "v").glob("*.partial"))


def test_a_change_of_the_code_changes_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version(["models.images.codec"])
    assert before == code_version(["models.images.codec"])
    assert before != code_version(["models.images.codec"], ["numpy"])
    changed = tmp_path / "images.py"
    spec = find_spec("models.images.codec")
    assert spec is not None
    assert spec.origin is not None
    changed.write_text(Path(spec.origin).read_text() + "\nWHITE = 1\n")
    monkeypatch.setattr(code_versions, "find_spec", lambda name: type("Spec", (), {"origin": str(changed)})())
    assert before != code_version(["models.images.codec"])


# Modules that are imported on the way and do not change what is computed.
BESIDE = {
    "models.code_version",
    "models.errors",
    "models.files",
    "models.params",
    "models.vocabulary",
    "models.detector.regions",
    "models.images.tiling",
    "models.thresholds.calibration",
    "models.thresholds.defective_only",
    "models.thresholds.good_only",
    "models.thresholds.heat_scale",
    "models.thresholds.operating_point",
    "models.training.context",
    "models.training.feature_cache",
    "models.training.fitting",
    "models.training.kinds",
    "models.training.weights",
}
ROOTS = ["models.training.frozen_features", "models.classification.network", "models.detection.stages"]


def test_the_version_covers_all_the_code_that_computes_features() -> None:
    reached = imported(ROOTS)
    assert reached > set(ROOTS)
    assert reached - BESIDE <= {*FEATURE_CODE, *ROOTS}


def imported(roots) -> set[str]:  # type: ignore[no-untyped-def]
    """Modules of `models` that these import, directly or through others of it, but not through those of `BESIDE`."""
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        spec = find_spec(name)
        if name in reached or spec is None or spec.origin is None:
            continue
        reached.add(name)
        if name in BESIDE:
            continue
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "models":
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
                waiting += [
                    name if find_spec(str(node.module)).submodule_search_locations else node.module for name in modules
                ]
    return reached
