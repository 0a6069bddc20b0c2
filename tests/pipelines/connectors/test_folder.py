"""A watched folder: every image is inspected once and moved away with its answer, whatever is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipelines.connectors import folder_arrivals
from pipelines.connectors.folder_arrivals import Arrivals, Stamp
from tests.pipelines.connectors.plant import connecting, wait_for
from tests.pipelines.connectors.stand_in import GOOD, SCRATCHED, StandIn

QUICK = {"settle_s": 0.1, "rescan_s": 0.3}


def image(number: int) -> bytes:
    return (SCRATCHED if number % 3 == 0 else GOOD) + str(number).encode()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.slow
def test_images_are_inspected_once_while_service_and_connector_are_killed(tmp_path: Path, service: StandIn) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    written = {f"p{number}_top.png": image(number) for number in range(12)}

    def write(first: int, last: int) -> None:
        for name, data in list(written.items())[first:last]:
            (camera / name).write_bytes(data)

    settings = {"path": str(camera), "part_from": r"(?P<part>p\d+)_(?P<view>\w+)\.png", **QUICK}
    with connecting(tmp_path, service, {}, folders={"one": settings}) as program:
        write(0, 3)  # before it runs
        program.start()
        wait_for(lambda: len(service.rows) == 3, lambda: program.log)
        service.faults = ["lost", "503", "slow"]
        write(3, 6)
        wait_for(lambda: len(service.rows) >= 5, lambda: program.log)
        service.kill()
        write(6, 9)
        program.says("service: waiting")
        program.kill()
        service.start()
        write(9, 12)
        program.start()
        wait_for(lambda: not set(written) & files(camera), lambda: program.log)
        assert program.stop() == 0
    assert sorted(row["part"] for row in service.inspections) == sorted(f"p{number}" for number in range(12))
    for name, data in written.items():
        assert (camera / "done" / name).read_bytes() == data
        answer = json.loads((camera / "done" / f"{name}.json").read_text())
        assert (answer["part"], answer["view"]) == (name.partition("_")[0], "top")
        assert answer["verdict"] == ("fail" if SCRATCHED in data else "pass")


def test_a_crash_between_answer_and_move_is_the_same_inspection(tmp_path: Path, service: StandIn) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    with connecting(tmp_path, service, {}, folders={"one": {"path": str(camera), **QUICK}}) as program:
        source = camera / "part.png"
        source.write_bytes(GOOD)
        program.start()
        wait_for(lambda: (camera / "done" / "part.png").exists(), lambda: program.log)
        program.kill()
        (camera / "done" / "part.png").rename(source)  # as if it had been killed before the move
        program.start()
        wait_for(lambda: (camera / "done" / "part.png").exists(), lambda: program.log)
        assert len(service.rows) == 1
        source.write_bytes(SCRATCHED)  # the same name with another image
        wait_for(lambda: (camera / "done" / "part-2.png").exists(), lambda: program.log)
        assert [row["verdict"] for row in service.inspections] == ["pass", "fail"]
        assert json.loads((camera / "done" / "part-2.png.json").read_text())["verdict"] == "fail"


def test_hostile_files_do_not_stop_it(tmp_path: Path, service: StandIn) -> None:
    camera, outside = tmp_path / "camera", tmp_path / "outside.png"
    (camera / "a").mkdir(parents=True)
    outside.write_bytes(SCRATCHED)
    (camera / "link.png").symlink_to(outside)
    (camera / "loop").symlink_to(camera)
    os.mkfifo(camera / "pipe.png")
    (camera / "huge.png").write_bytes(b"img" + b"x" * 2_000_000)
    (camera / "torn.png").write_bytes(b"torn")
    (camera / ".hidden.png").write_bytes(GOOD)
    (camera / "growing.png.tmp").write_bytes(GOOD)
    (camera / "a" / os.fsdecode(b"\xff\xfe.png")).write_bytes(GOOD + b"name")
    (camera / f"{'n' * 251}.png").write_bytes(GOOD + b"long")
    (camera / "a" / "line\nbreak.PNG").write_bytes(GOOD + b"line")
    settings = {"path": str(camera), "largest_mb": 1, **QUICK}
    with connecting(tmp_path, service, {}, folders={"one": settings}) as program:
        program.start()
        wait_for(lambda: len(files(camera / "done")) == 6 and len(files(camera / "failed")) == 4, lambda: program.log)
        assert program.stop() == 0
    assert {"link.png", "pipe.png", ".hidden.png", "growing.png.tmp"} <= files(camera)
    reasons = {name: json.loads((camera / "failed" / f"{name}.json").read_text()) for name in ("huge.png", "torn.png")}
    assert "more than 1 MB" in reasons["huge.png"]["error"]["message"]
    assert "decoded" in reasons["torn.png"]["error"]["message"]
    assert len(service.rows) == 3


def test_a_file_that_grows_is_not_complete() -> None:
    arrivals = Arrivals(1.0, None)
    assert arrivals.complete({"a": Stamp(1, 1, 1)}, (), 0.0) == ([], True)
    assert arrivals.complete({"a": Stamp(2, 2, 1)}, (), 0.9) == ([], True)
    assert arrivals.complete({"a": Stamp(2, 2, 1)}, (), 1.8) == ([], True)
    assert arrivals.complete({"a": Stamp(2, 2, 1), "b": Stamp(1, 9, 2)}, (), 2.0) == (["a"], True)
    assert arrivals.complete({"b": Stamp(1, 9, 2)}, (), 3.0) == (["b"], False)
    assert arrivals.complete({"empty": Stamp(0, 1, 3)}, (), 4.0) == ([], True)
    assert arrivals.complete({"empty": Stamp(0, 1, 3)}, (), 6.0) == ([], True)


def test_a_marker_says_that_a_file_is_complete() -> None:
    arrivals = Arrivals(1.0, ".ok")
    found = {"a.png": Stamp(1, 2, 1), "b.png": Stamp(1, 1, 2)}
    assert arrivals.complete(found, (), 9.0) == ([], False)
    assert arrivals.complete(found, {"a.png.ok", "b.png.ok"}, 9.0) == (["b.png", "a.png"], False)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.png", True), ("A.PNG", True), (".a.png", False), ("a.png.tmp", False), ("a.txt", False)]
)
def test_patterns_choose_images(name: str, expected: bool) -> None:
    assert folder_arrivals.is_image(name, ("*.png", "*.tif")) is expected


def test_a_key_changes_with_bytes_name_and_time() -> None:
    stamp = Stamp(3, 5, 7)
    keys = {
        folder_arrivals.key("one", "a.png", stamp, b"x"),
        folder_arrivals.key("two", "a.png", stamp, b"x"),
        folder_arrivals.key("one", "b.png", stamp, b"x"),
        folder_arrivals.key("one", "a.png", stamp, b"y"),
        folder_arrivals.key("one", "a.png", Stamp(3, 6, 7), b"x"),
    }
    assert len(keys) == 5
    assert folder_arrivals.key("one", "a.png", Stamp(3, 5, 8), b"x") in keys  # a copy back has another inode
