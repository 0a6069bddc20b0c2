"""Group commit and the spool: what is acknowledged is durable, and delivered."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import DefectloopError, Unreachable
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.serving.commits import GroupCommit
from pipelines.serving.spool import Spool
from tests.pipelines.serving.test_parts import seen


class RemoteStore:
    """An image store on another machine, which can be away."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.away = threading.Event()

    def put(self, data: bytes, image: str | None = None) -> str:
        if self.away.is_set():
            raise Unreachable("The image store does not answer.")
        image = hashlib.sha256(data).hexdigest()
        self.kept[image] = data
        return image

    def get(self, image: str) -> bytes:
        return self.kept[image]

    def exists(self, image: str) -> bool:
        return image in self.kept

    def address(self, image: str) -> str:
        return f"s3://bucket/{image}"


def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)


def test_concurrent_records_share_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = inspections.add_once

    def counted(ledger: Ledger, records: list[inspections.Record]) -> dict[str, inspections.Record]:
        sizes.append(len(records))
        time.sleep(0.02)  # as a slow disk: others arrive meanwhile
        return original(ledger, records)

    monkeypatch.setattr(inspections, "add_once", counted)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        commits = GroupCommit(ledger, "a")
        with ThreadPoolExecutor(20) as pool:
            stored = list(pool.map(commits.store, (seen_new(number) for number in range(100))))
        commits.close()
        assert len({one.record.id for one in stored}) == 100
        assert len(inspections.of_part(ledger, "a", "B-1")) == 100
    assert len(sizes) < 30


def test_a_record_that_cannot_be_stored_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = inspections.add_once
    entered = threading.Event()

    def picky(ledger: Ledger, records: list[inspections.Record]) -> dict[str, inspections.Record]:
        if not entered.is_set():
            entered.set()
            time.sleep(0.2)  # the others gather in one batch
        if any(record.request_id == "3" for record in records):
            raise OSError(5, "Input/output error")
        return original(ledger, records)

    monkeypatch.setattr(inspections, "add_once", picky)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        commits = GroupCommit(ledger, "a")

        def store(number: int) -> str:
            try:
                return commits.store(seen_new(number)).record.request_id
            except DefectloopError as error:
                return error.message

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(store, range(8)))
        commits.close()
        assert [answer for number, answer in enumerate(answers) if number != 3] == ["0", "1", "2", "4", "5", "6", "7"]
        assert "Input/output error" in answers[3]
        assert len(inspections.of_part(ledger, "a", "B-1")) == 7


def test_images_wait_on_the_disk_while_the_store_is_away(tmp_path: Path) -> None:
    store = RemoteStore()
    store.away.set()
    spool = Spool(store, tmp_path, largest_bytes=100)
    image = spool.put(b"picture")
    assert spool.get(image) == b"picture"
    until(lambda: spool.waiting().problem is not None)
    assert (spool.waiting().images, spool.waiting().bytes) == (1, 7)
    with pytest.raises(Unreachable, match="full"):
        spool.put(b"x" * 94)
    store.away.clear()
    until(lambda: spool.waiting().images == 0)
    assert store.kept == {image: b"picture"}
    assert list(tmp_path.iterdir()) == []
    spool.close()


def test_images_of_a_killed_service_are_delivered_by_the_next(tmp_path: Path) -> None:
    store = RemoteStore()
    store.away.set()
    image = Spool(store, tmp_path, largest_bytes=100).put(b"picture")
    (tmp_path / ".half.1.2.partial").write_bytes(b"pic")
    fresh = RemoteStore()
    spool = Spool(fresh, tmp_path, largest_bytes=100)
    until(lambda: image in fresh.kept)
    spool.close()
    assert not (tmp_path / ".half.1.2.partial").exists()


def seen_new(number: int) -> inspections.Record:
    record = seen(number, "pass")
    del record.id
    return record
