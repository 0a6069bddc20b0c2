"""A delivery in an archive is what the archive holds and nothing else on the disk, however the archive was made."""

from __future__ import annotations

import errno
import gzip
import io
import json
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from models.dataset import annotation_table
from models.errors import BadData, BadInput, DefectloopError
from pipelines.ingest import archives, formats
from pipelines.workspace import Workspace
from tests.conftest import make_workspace, picture

FILES = {
    "good/a.png": picture(1, defective=False),
    "good/b.png": picture(2, defective=False),
    "scratch/c.png": picture(3, defective=True),
}
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, MODES[archives.suffix(path) or ""]) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in more:
            archive.addfile(entry)
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("archives") / "workspace")


@pytest.fixture(autouse=True)
def _nothing_is_left(workspace: Workspace, tmp_path: Path) -> Iterator[None]:
    """Whatever an archive tries: nothing outside the block's folder, and nothing at all behind it."""
    outside = workspace.root.parent
    before = everything(outside)
    yield
    assert everything(outside) == before
    assert not (workspace.state / "extracted").exists()


def everything(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "locks" not in p.parts}


def held(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("end", [".zip", ".ZIP", *MODES])
def test_an_archive_is_extracted_for_the_block_alone(end: str, workspace: Workspace, tmp_path: Path) -> None:
    path = (zipped if end.lower() == ".zip" else tarred)(tmp_path / f"photos{end}", FILES)
    with archives.extracted(workspace, path) as delivery:
        assert delivery.name == "photos"
        assert delivery.nested == ()
        assert held(delivery.path) == FILES


def test_without_being_asked_for_it_is_refused_with_the_command(tmp_path: Path) -> None:
    path = zipped(tmp_path / "photos.zip", FILES)
    with pytest.raises(BadData, match="is an archive") as error:
        formats.recognise(str(path))
    assert error.value.next_step == f"defectloop ingest {path} --extract"


@pytest.mark.parametrize("name", ["photos.7z", "photos.rar", "photos.png.gz"])
def test_other_kinds_stay_refused_by_name(name: str, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    for attempt in (lambda: formats.recognise(str(tmp_path / name)), lambda: opened(workspace, tmp_path / name)):
        with pytest.raises(BadData, match=name):
            attempt()


def opened(workspace: Workspace, path: Path) -> None:
    with archives.extracted(workspace, path):
        pass


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    return entry


def zip_link(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("good/way-out")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc")
        archive.writestr("good/way-out/passwd", b"x")
    return path


def zip_encrypted(path: Path) -> Path:
    data = bytearray(zipped(path, {"a.png": b"x"}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    return path


def zip_twice(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good/a.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("good/a.png", b"two")
    return path


MALICIOUS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "zip, out of the folder": ("points outside", lambda p: zipped(p / "a.zip", {"good/../../../x.png": b"x"})),
    "zip, absolute": ("absolute path", lambda p: zipped(p / "a.zip", {"/tmp/x.png": b"x"})),
    "zip, drive letter": ("absolute path", lambda p: zipped(p / "a.zip", {"C:/x.png": b"x"})),
    "zip, backslashes": ("points outside", lambda p: zipped(p / "a.zip", {"..\\..\\x.png": b"x"})),
    "zip, network share": ("absolute path", lambda p: zipped(p / "a.zip", {"\\\\server\\x.png": b"x"})),
    "zip, line break in a name": ("control characters", lambda p: zipped(p / "a.zip", {"a\nb.png": b"x"})),
    "zip, link": ("is a link", lambda p: zip_link(p / "a.zip")),
    "zip, encrypted": ("is encrypted", lambda p: zip_encrypted(p / "a.zip")),
    "zip, a name twice": ("contains 'good/a.png' twice", lambda p: zip_twice(p / "a.zip")),
    "zip, a file as folder": (
        "contains 'good/a.png' twice",
        lambda p: zipped(p / "a.zip", {"good": b"x", "good/a.png": b"x"}),
    ),
    "zip, endless name": ("is too long", lambda p: zipped(p / "a.zip", {"n" * 300 + ".png": b"x"})),
    "tar, out of the folder": ("points outside", lambda p: tarred(p / "a.tar", {"../x.png": b"x"})),
    "tar, absolute": ("absolute path", lambda p: tarred(p / "a.tar.gz", {"/tmp/x.png": b"x"})),
    "tar, link out": ("is a link", lambda p: tarred(p / "a.tar.xz", {}, link("good", "/etc"))),
    "tar, hard link": ("is a link", lambda p: tarred(p / "a.tar", FILES, link("x", "/etc/passwd", tarfile.LNKTYPE))),
    "tar, device": (
        "is not a regular file",
        lambda p: tarred(p / "a.tar.bz2", FILES, special("good/null", tarfile.CHRTYPE)),
    ),
    "tar, pipe": (
        "is not a regular file",
        lambda p: tarred(p / "a.tar", FILES, special("good/pipe", tarfile.FIFOTYPE)),
    ),
}


@pytest.mark.parametrize("what", MALICIOUS)
def test_an_archive_with_one_bad_entry_is_refused_and_says_which(
    what: str, workspace: Workspace, tmp_path: Path
) -> None:
    reason, make = MALICIOUS[what]
    path = make(tmp_path)
    with pytest.raises(BadData, match=reason) as error:
        opened(workspace, path)
    assert str(path) in error.value.message
    assert error.value.next_step
    assert not Path("/tmp/x.png").exists()


def zip_bomb(path: Path) -> Path:
    return zipped(path, {f"good/{n}.png": bytes(1 << 20) for n in range(8)})


def zip_that_lies(path: Path) -> Path:
    """Says that its 8 MiB are 10 bytes."""
    data = bytearray(zipped(path, {"good/a.png": bytes(8 << 20)}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + offset, 10)
    path.write_bytes(data)
    return path


def tar_with_endless_header(path: Path) -> Path:
    """An extended header of 1 TiB, as its size says."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with gzip.open(path, "wb") as sink:
        sink.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda p: zip_bomb(p / "a.zip"),
        lambda p: tarred(p / "a.tar.gz", {"a.png": bytes(8 << 20)}),
        lambda p: tarred(p / "a.tar.xz", {"__MACOSX/a.png": bytes(8 << 20)}),
        lambda p: zipped(p / "a.zip", {"inner.zip": bytes(8 << 20)}),
    ],
    ids=["zip", "tar.gz", "in what is skipped", "in an archive inside"],
)
def test_a_bomb_is_refused_before_it_fills_the_disk(
    make: Callable[[Path], Path], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_COUNTS_FROM_BYTES", 2 << 20)
    with pytest.raises(BadData, match="content is larger than"):
        opened(workspace, make(tmp_path))


def test_a_size_that_is_a_lie_does_not_help(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_COUNTS_FROM_BYTES", 2 << 20)
    with pytest.raises(BadData, match=r"content is larger than|is damaged"):
        opened(workspace, zip_that_lies(tmp_path / "a.zip"))


def test_a_header_that_asks_for_all_memory_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is damaged"):
        opened(workspace, tar_with_endless_header(tmp_path / "a.tar.gz"))


def test_too_many_entries_are_refused(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2)
    with pytest.raises(BadData, match="more than 2 entries"):
        opened(workspace, zipped(tmp_path / "a.zip", FILES))


@pytest.mark.parametrize("end", [".zip", *MODES])
def test_a_damaged_archive_is_refused_and_never_anything_else(end: str, workspace: Workspace, tmp_path: Path) -> None:
    whole = (zipped if end == ".zip" else tarred)(tmp_path / f"whole{end}", FILES).read_bytes()
    random_ = random.Random(0)
    path = tmp_path / f"photos{end}"
    for attempt in range(40):
        data = bytearray(whole)
        if attempt % 2:
            data = data[: random_.randrange(len(data))]
        else:
            for _ in range(3):
                data[random_.randrange(len(data))] = random_.randrange(256)
        path.write_bytes(data)
        try:
            with archives.extracted(workspace, path) as delivery:
                assert delivery.path.is_dir()
        except BadData as error:
            assert str(path) in error.message  # noqa: PT017


def test_archives_inside_are_named_and_notes_of_macos_left_out(workspace: Workspace, tmp_path: Path) -> None:
    more = {"more/inner.zip": b"x", "more/w.tar.gz": b"x", "__MACOSX/good/._a.png": b"x", "good/._a.png": b"x"}
    with archives.extracted(workspace, zipped(tmp_path / "photos.zip", FILES | more)) as delivery:
        assert delivery.nested == ("more/inner.zip", "more/w.tar.gz")
        assert held(delivery.path) == FILES


PACKED = {
    "everything in a folder": ({f"set-3/{name}": data for name, data in FILES.items()}, "set-3"),
    "with a picture beside the classes": (
        {f"set-3/{name}": data for name, data in FILES.items()} | {"set-3/overview.png": b"x"},
        "set-3",
    ),
    "in a folder of its name": ({f"photos/{name}": data for name, data in FILES.items()}, "photos"),
    "in two folders": ({f"photos/set-3/{name}": data for name, data in FILES.items()}, "photos/set-3"),
    "one class": ({"good/a.png": FILES["good/a.png"]}, ""),
    "images alone": ({"a.png": FILES["good/a.png"]}, ""),
    "a manifest on top": (FILES | {"labels.csv": b"path,label\n"}, "labels.csv"),
    "two tables on top": (FILES | {"a.csv": b"path\n", "b.csv": b"path\n"}, ""),
    "COCO in a folder": (
        {"set/a.png": b"x", "set/notes.json": json.dumps({"images": [], "categories": []}).encode()},
        "set/notes.json",
    ),
}


@pytest.mark.parametrize("how", PACKED)
def test_the_delivery_begins_where_its_folder_would(how: str, workspace: Workspace, tmp_path: Path) -> None:
    files, begins = PACKED[how]
    with archives.extracted(workspace, zipped(tmp_path / "photos.zip", files)) as delivery:
        content = next((workspace.state / "extracted").glob("*/content"))
        assert delivery.path == content / begins


def test_what_a_killed_ingest_left_is_taken_up_or_removed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "photos.zip", FILES)
    monkeypatch.setattr(archives.shutil, "rmtree", lambda *_, **__: None)
    opened(workspace, path)  # as if it had been killed inside the block
    monkeypatch.undo()
    left = next((workspace.state / "extracted").iterdir())
    (left.with_name("0123.partial") / "content").mkdir(parents=True)
    monkeypatch.setattr(archives, "_extract", lambda *_: pytest.fail("it is there already"))
    with archives.extracted(workspace, path) as delivery:
        assert held(delivery.path) == FILES
        assert [entry.name for entry in (workspace.state / "extracted").iterdir()] == [left.name]


def test_a_full_disk_is_named(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "photos.zip", FILES)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_entries", full)
    with pytest.raises(DefectloopError, match="No space left") as error:
        opened(workspace, path)
    assert "DEFECTLOOP_STATE" in error.value.next_step


def ingest(workspace: Workspace, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["ingest", *map(str, arguments), "--workspace", str(workspace.root), "--json"])


def test_a_second_ingest_of_the_same_archive_adds_nothing(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "workspace")
    path = tarred(tmp_path / "photos.tar.gz", {f"set/{name}": data for name, data in FILES.items()})
    first = ingest(place, path, "--extract", "--line", "widgets")
    assert json.loads(first.stdout)["added"] == 3, first.output
    again = json.loads(ingest(place, path, "--extract").stdout)
    assert (again["added"], again["already_present"], again["quarantined"]) == (0, 3, [])
    rows = annotation_table.load(place.annotations).to_pylist()
    assert {row["source"] for row in rows} == {"photos"}
    assert {(row["source_path"], row["label"]) for row in rows} == {
        ("good/a.png", "good"),
        ("good/b.png", "good"),
        ("scratch/c.png", "defect"),
    }
    assert not (place.state / "extracted").exists()


def test_an_ingest_that_fails_leaves_no_extracted_files(workspace: Workspace, tmp_path: Path) -> None:
    failed = ingest(workspace, zipped(tmp_path / "photos.zip", {"readme.txt": b"x"}), "--extract")
    assert isinstance(failed.exception, BadData)


def test_an_ingest_for_another_line_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    failed = ingest(workspace, tmp_path, "--line", "gadgets")
    assert isinstance(failed.exception, BadInput)
    assert "belongs to line widgets, not to gadgets" in failed.exception.message
    assert "--line gadgets" in failed.exception.next_step


def test_what_is_no_archive_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    for path in (tmp_path / "photos", tmp_path / "a.png", tmp_path / "absent.zip"):
        with pytest.raises(BadInput, match="is not an archive"):
            opened(workspace, path)
