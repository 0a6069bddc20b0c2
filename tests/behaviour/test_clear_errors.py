"""Whatever is damaged, missing, full or forbidden: a sentence that says what and where, the next command, no traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from models import files
from models.errors import BadData, DefectloopError
from pipelines import failures
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, tracking
from pipelines.image_files import originals
from pipelines.snapshots import snapshot
from pipelines.training import register
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import LINE, stocked_workspace, write_parts

NOISE = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def stocked_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stocked_workspace(tmp_path_factory.mktemp("stocked")).root


@pytest.fixture
def stocked(stocked_root: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(stocked_root, tmp_path / "line")
    return workspaces.at(tmp_path / "line")


def is_clear(done: subprocess.CompletedProcess[str], *codes: int) -> bool:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode in codes, done.stderr
    assert "Traceback" not in done.stderr
    assert "bug in defectloop" not in done.stderr, done.stderr
    assert any(line.startswith("✗ ") for line in lines), done.stderr
    assert any(line.startswith("  → ") for line in lines), done.stderr
    return True


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def noise(path: Path) -> None:
    path.write_bytes(NOISE)


def without_column(path: Path) -> None:
    parquet.write_table(parquet.read_table(path).drop_columns(["file"]), path)


def with_numbers_for_names(path: Path) -> None:
    table = parquet.read_table(path)
    at = table.schema.get_field_index("boxes")
    parquet.write_table(table.set_column(at, "boxes", pa.array([1.5] * len(table))), path)


def with_gaps(path: Path) -> None:
    table = parquet.read_table(path)
    at = table.schema.get_field_index("part")
    parquet.write_table(table.set_column(at, "part", pa.array([None] * len(table), pa.string())), path)


@pytest.mark.parametrize("damage", [cut_off, noise, without_column, with_numbers_for_names, with_gaps])
def test_damaged_annotations_are_named(damage: Callable[[Path], None], stocked: Workspace, in_process) -> None:
    damage(stocked.annotations)
    done = in_process("validate", "-w", stocked.root)
    assert is_clear(done, 2)
    assert "annotations.parquet is damaged" in done.stderr
    assert "--repair" in done.stderr


def test_damaged_annotations_come_back_from_the_last_snapshot(stocked: Workspace) -> None:
    validate.validate(stocked)
    taken = snapshot.snapshot(stocked)
    whole = stocked.annotations.read_bytes()
    stocked.annotations.unlink()
    noise(stocked.annotations)
    assert originals.repair(stocked).annotations_of == taken.tag
    assert stocked.annotations.read_bytes() == whole


@pytest.mark.parametrize(
    ("file", "command", "says"),
    [
        (".defectloop/ledger.db", ["status"], "The ledger"),
        (".defectloop/mlflow.db", ["status"], "The tracking store"),
        (".defectloop/prefect/server.json", ["monitor"], "server.json is damaged"),
        ("params.yaml", ["validate"], "params.yaml"),
        ("artifacts/validate/report.json", ["snapshot"], "report.json is damaged"),
        ("quarantine/a.png.json", ["quarantine", "list"], "a.png.json is damaged"),
    ],
)
def test_a_damaged_file_is_named(file: str, command: list[str], says: str, stocked: Workspace, in_process) -> None:
    damaged = stocked.root / file
    damaged.parent.mkdir(parents=True, exist_ok=True)
    noise(damaged)
    done = in_process(*command, "-w", stocked.root)
    assert is_clear(done, 1, 2)
    assert says in done.stderr


@pytest.mark.parametrize("file", ["dvc.yaml", "dvc.lock", ".dvc/config"])
def test_what_dvc_cannot_read_is_named_with_the_way_back(file: str, stocked: Workspace) -> None:
    (stocked.root / file).write_text("stages: [\n{{")
    with pytest.raises(DefectloopError, match="DVC cannot work in") as caught:
        dataset_versions.run_stage(stocked, "train")
    assert "git checkout" in caught.value.next_step


def test_a_damaged_evaluation_is_named(stocked: Workspace) -> None:
    for name, content in (("train/run.json", "{}"), ("export/detector.onnx", ""), ("evaluate/evaluation.json", "{")):
        path = stocked.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with pytest.raises(BadData, match=r"evaluation\.json is damaged"):
        register.register(stocked)


@pytest.mark.parametrize("folder", [".git", ".dvc"])
def test_a_workspace_without_its_versions_is_named(folder: str, stocked: Workspace, in_process) -> None:
    shutil.rmtree(stocked.root / folder)
    done = in_process("snapshot", "-w", stocked.root)
    assert is_clear(done, 3)
    assert f"no {folder}" in done.stderr


WRITING = [
    ["init", "other", "--line", "other"],
    ["ingest", "stock"],
    ["validate"],
    ["snapshot"],
    ["audit"],
    ["status"],
    ["export", "coco", "coco"],
    ["synthesize", "--count", "1", "--kinds", "scratch"],
]


def typed(command: list[str], place: Workspace, folder: Path) -> list[object]:
    names = [
        folder / word if word in ("other", "stock", "coco") and command[0] != "export" else word for word in command
    ]
    if command[0] == "export":
        names[2] = folder / "coco"
    if command[0] == "init":
        names = ["init", folder / "other", "--line", "other"]
    return names if command[0] == "init" else [*names, "-w", place.root]


@contextlib.contextmanager
def no_file_may_grow() -> Iterator[None]:
    """The kernel refuses every byte that is written to a file, in this process and in its children."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", WRITING, ids=lambda command: command[0])
def test_a_disk_that_takes_nothing_is_an_error_in_words(
    command: list[str], stocked: Workspace, tmp_path: Path, in_process
) -> None:
    write_parts(tmp_path / "stock", 3, first=500)
    if command[0] == "snapshot":
        validate.validate(stocked)
    words = typed(command, stocked, tmp_path)
    with no_file_may_grow():
        done = in_process(*words)
    assert is_clear(done, 1, 5)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_what_the_system_refuses_is_said_with_its_place(number: int, monkeypatch, tmp_path: Path) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        files.write_whole(tmp_path / "a.txt", b"x")
    error = failures.in_words(caught.value)
    assert str(tmp_path / "a.txt") in error.message
    assert os.strerror(number) in error.message
    assert "same command again" in error.next_step
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_takes_nothing_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


def test_a_reader_that_leaves_early_is_no_error_worth_a_word() -> None:
    shell = f"{sys.executable} -m flows.cli --help | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_heatmaps_that_cannot_be_written_are_refused_before_anything_is_inspected(
    stocked: Workspace, tmp_path: Path, in_process
) -> None:
    (tmp_path / "taken").write_text("a file")
    done = in_process("inspect", "a.png", "--heatmaps", tmp_path / "taken", "-w", stocked.root)
    assert is_clear(done, 2)
    assert "is not writable" in done.stderr


def test_every_locale_will_do(stocked: Workspace, interpreted, tmp_path: Path) -> None:
    folder = tmp_path / "Größe"
    write_parts(folder, 3, first=900)
    plain = {"PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}
    done = interpreted("ingest", folder, "--json", "-w", stocked.root, **plain)
    assert done.returncode == 0, done.stderr
    refused = interpreted("ingest", tmp_path / "müßig", "-w", stocked.root, **plain)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_an_interrupt_is_one_line(stocked: Workspace, monkeypatch, in_process) -> None:
    def interrupted(_: Workspace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "validate", interrupted)
    done = in_process("validate", "-w", stocked.root)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines() == ["Interrupted. Run the same command again to continue where it stopped."]


def test_a_moved_workspace_finds_its_runs(empty_workspace: Workspace, tmp_path: Path) -> None:
    run = tracking.start_run(empty_workspace, line=LINE, train_key="k", name="first", params={}, tags={})
    there = tmp_path / "a $HOME b#c%20 ü'q"
    shutil.move(empty_workspace.root, there)
    moved = workspaces.at(there)
    (there / "note.txt").write_text("kept")
    mlflow = tracking.client(moved)
    mlflow.log_artifact(run, str(there / "note.txt"))
    kept = list((there / ".defectloop" / "mlartifacts").rglob("note.txt"))
    assert len(kept) == 1
    assert not empty_workspace.root.exists()


def test_nothing_in_a_path_is_taken_for_a_variable(stocked: Workspace, tmp_path: Path) -> None:
    there = tmp_path / "a $HOME b"
    shutil.move(stocked.root, there)
    validate.validate(workspaces.at(there))
    assert (there / "artifacts" / "validate" / "data_docs" / "index.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a $HOME b"]


def test_files_are_for_owner_and_group_alone(tmp_path: Path, in_process) -> None:
    place = tmp_path / "line"
    assert in_process("init", place, "--line", "widgets").returncode == 0
    assert in_process("ingest", write_parts(tmp_path / "stock", 3), "-w", place).returncode == 0
    assert in_process("status", "-w", place).returncode == 0
    assert (place / ".defectloop" / "ledger.db").exists()
    wide = [path for path in [place, *place.rglob("*")] if path.lstat().st_mode & 0o027]
    assert [path for path in wide if not path.is_symlink()] == []
