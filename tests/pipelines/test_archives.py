"""Archives as senders pack them, and as attackers do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from models import annotation_table
from models.errors import BadData
from pipelines.ingest.archives import SMALL_BYTES, extracted
from pipelines.workspace import Workspace
from tests.conftest import Command, picture


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def linked_zip(path: Path) -> Path:
    info = zipfile.ZipInfo("good/link.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda at: zipped(at / "a.zip", {"../evil.png": b"x"}), "leads outside"),
        (lambda at: zipped(at / "a.zip", {"/evil.png": b"x"}), "leads outside"),
        (lambda at: zipped(at / "a.zip", {"..\\evil.png": b"x"}), "leads outside"),
        (lambda at: zipped(at / "a.zip", {"C:/evil.png": b"x"}), "leads outside"),
        (lambda at: linked_zip(at / "a.zip"), "link or a device"),
        (lambda at: tarred(at / "a.tgz", (member("../evil.png"), b"x")), "leads outside"),
        (lambda at: tarred(at / "a.tgz", (member("l", tarfile.SYMTYPE, "/etc"), b"")), "link or a device"),
        (lambda at: tarred(at / "a.tgz", (member("h", tarfile.LNKTYPE, "x"), b"")), "link or a device"),
        (lambda at: tarred(at / "a.tgz", (member("d", tarfile.CHRTYPE), b"")), "link or a device"),
        (lambda at: zipped(at / "a.zip", {"bomb.png": bytes(SMALL_BYTES + 2**21)}), "times its size"),
    ],
)
def test_an_archive_that_means_harm_is_refused_and_leaves_nothing(make, says: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(BadData, match=says), extracted(make(tmp_path / "in"), tmp_path / "work"):
        pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "in"]


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar.gz", "odd.7z"])
def test_what_is_no_whole_archive_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadData, match="can't be extracted"), extracted(tmp_path / name, tmp_path / "work"):
        pass


def test_an_archive_is_ingested_when_asked_for_and_only_once(
    empty_workspace: Workspace, tmp_path: Path, defectloop: Command
) -> None:
    images = {f"photos/{'scratch' if n % 2 else 'good'}/{n}.png": picture(n, defective=bool(n % 2)) for n in range(6)}
    archive = zipped(tmp_path / "photos.zip", images)
    refused = defectloop("ingest", archive, "-w", empty_workspace.root)
    assert refused.returncode == 2
    assert "--extract" in refused.stderr
    for added in (6, 0):
        done = defectloop("ingest", archive, "--extract", "-w", empty_workspace.root)
        assert f"{added} added" in done.stdout, done.stderr
    rows = annotation_table.load(empty_workspace.annotations).to_pylist()
    assert {row["source"] for row in rows} == {"photos"}
    assert not list((empty_workspace.state / "work" / "extracted").glob("*"))


def test_a_delivery_for_another_line_is_refused(
    empty_workspace: Workspace, tmp_path: Path, defectloop: Command
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.png").write_bytes(picture(1, defective=False))
    refused = defectloop("ingest", tmp_path / "good", "--line", "bottles", "-w", empty_workspace.root)
    assert refused.returncode == 2
    assert "not of bottles" in refused.stderr
