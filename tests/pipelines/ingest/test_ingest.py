from __future__ import annotations

from pathlib import Path

import pytest

from models.dataset import annotation_table
from models.errors import BadData, BadParams
from models.images import codec
from pipelines import part_names
from pipelines.ingest import ingest
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.workspace import Workspace
from tests.conftest import change_params, picture, write_parts


def test_second_ingest_of_the_same_folder_adds_nothing(workspace: Workspace, tmp_path: Path) -> None:
    before = workspace.annotations.read_bytes()
    report = ingest.ingest(workspace, str(tmp_path / "stock"), slice="matt")
    assert (report.added, report.already_present) == (0, 60)
    assert workspace.annotations.read_bytes() == before


def test_images_keep_their_bytes_under_their_hash(workspace: Workspace, tmp_path: Path) -> None:
    row = annotation_table.load(workspace.annotations).to_pylist()[0]
    assert (workspace.data / row["file"]).read_bytes() == (tmp_path / "stock" / row["source_path"]).read_bytes()
    assert row["image"] in row["file"]


def test_the_same_bytes_under_another_name_go_to_quarantine(workspace: Workspace, tmp_path: Path) -> None:
    again = tmp_path / "again" / "good" / "other.png"
    again.parent.mkdir(parents=True)
    again.write_bytes(picture(1, defective=False))
    report = ingest.ingest(workspace, str(tmp_path / "again"))
    assert report.added == 0
    assert "duplicate" in report.quarantined[0].reason
    assert (workspace.quarantine / report.quarantined[0].file).exists()


def test_a_part_keeps_its_split_when_more_images_of_it_arrive(workspace: Workspace, tmp_path: Path) -> None:
    table = annotation_table.load(workspace.annotations)
    first = table.to_pylist()[0]
    manifest = tmp_path / "more" / "more.csv"
    manifest.parent.mkdir()
    (manifest.parent / "second-view.png").write_bytes(picture(900, defective=False))
    manifest.write_text(f"path,part,label,slice\nsecond-view.png,{first['part']},{first['label']},matt\n")
    ingest.ingest(workspace, str(manifest))
    rows = annotation_table.load(workspace.annotations).to_pylist()
    assert {row["split"] for row in rows if row["part"] == first["part"]} == {first["split"]}


def test_the_test_split_does_not_change_when_the_dataset_grows(workspace: Workspace, tmp_path: Path) -> None:
    def frozen() -> set[str]:
        rows = annotation_table.load(workspace.annotations).to_pylist()
        return {row["part"] for row in rows if row["split"] == "test" and row["source"] == "stock"}

    before = frozen()
    ingest.ingest(workspace, str(write_parts(tmp_path / "later", 40, first=100)))
    assert frozen() == before


def test_a_label_that_the_sender_corrects_is_taken_over_and_the_split_stays(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(1, defective=True))
    manifest = tmp_path / "m.csv"

    def deliver(label: str) -> tuple[ingest.IngestReport, dict]:
        manifest.write_text(f"path,label,labelled_by\na.png,{label},lab\n")
        report = ingest.ingest(empty_workspace, str(manifest))
        return report, annotation_table.load(empty_workspace.annotations).to_pylist()[0]

    _, before = deliver("good")
    report, after = deliver("defect")
    assert (report.added, report.relabelled) == (0, 1)
    assert (after["label"], after["split"]) == ("defect", before["split"])
    silent, kept = deliver("")
    assert (silent.relabelled, silent.already_present) == (0, 1)
    assert kept["label"] == "defect"


def test_a_folder_without_images_is_an_error_that_names_it(empty_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadData, match=r"No images below .*nothing"):
        ingest.ingest(empty_workspace, str(tmp_path / "nothing"))


def test_a_manifest_with_unknown_columns_is_an_error_that_names_them(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("path,colour\na.png,red\n")
    with pytest.raises(BadData, match="unknown columns colour"):
        ingest.ingest(empty_workspace, str(tmp_path / "m.csv"))


@pytest.mark.slow  # 1,074 images, twice
def test_the_solar_cells_give_the_same_table_every_time(empty_workspace: Workspace, tmp_path: Path) -> None:
    from tests.conftest import make_workspace

    other = make_workspace(tmp_path / "other")
    for place in (empty_workspace, other):
        ingest.ingest(place, "elpv", slice="mono")
    assert empty_workspace.annotations.read_bytes() == other.annotations.read_bytes()


def rows_by_path(place: Workspace) -> dict[str, dict]:
    rows = annotation_table.load(place.annotations).to_pylist()
    return {f"{row['source']}/{row['source_path']}": row for row in rows}


def test_the_same_names_in_two_deliveries_are_different_parts(empty_workspace: Workspace, tmp_path: Path) -> None:
    for day, number in (("monday", 1), ("tuesday", 2)):
        path = tmp_path / day / "good" / "001.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(number, defective=False))
        ingest.ingest(empty_workspace, str(tmp_path / day))
    found = rows_by_path(empty_workspace)
    first, second = found["monday/good/001.png"], found["tuesday/good/001.png"]
    assert first["part"] == part_names.unstated(first["image"])
    assert first["part"] != second["part"]


def test_a_new_photo_of_a_test_part_stays_in_the_test_split_whatever_folder_it_comes_in(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    change_params(empty_workspace, {"ingest": {"part_from": r"(part\d+)"}})
    ingest.ingest(empty_workspace, str(write_parts(tmp_path / "stock", 12)))
    tested = next(row for row in rows_by_path(empty_workspace).values() if row["split"] == "test")
    again = tmp_path / "photographed again" / tested["label"] / f"{tested['part']}_side.png"
    again.parent.mkdir(parents=True)
    again.write_bytes(picture(700, defective=False))
    ingest.ingest(empty_workspace, str(tmp_path / "photographed again"))
    photo = rows_by_path(empty_workspace)[f"photographed again/{tested['label']}/{again.name}"]
    assert (photo["part"], photo["split"]) == (tested["part"], "test")


def test_a_manifest_s_own_part_comes_before_the_pattern_and_is_named(
    empty_workspace: Workspace, tmp_path: Path, defectloop
) -> None:
    for number, name in enumerate(("a_7.png", "b_8.png", "c.png")):
        (tmp_path / name).write_bytes(picture(number, defective=False))
    (tmp_path / "m.csv").write_text("path,part,label\na_7.png,serial 1,good\nb_8.png,,good\nc.png,,good\n")
    done = defectloop("ingest", tmp_path / "m.csv", "--part-from", r"_(\d)", "-w", empty_workspace.root)
    found = rows_by_path(empty_workspace)
    assert [found[f"m/{name}"]["part"] for name in ("a_7.png", "b_8.png")] == ["serial 1", "8"]
    assert not part_names.is_stated(found["m/c.png"]["part"])
    assert (
        "1 × part stated by the delivery used instead of the one found by --part-from (first: a_7.png)" in done.stdout
    )
    assert "1 × file name in which --part-from finds no part (first: c.png)" in done.stdout


def test_a_part_in_a_file_s_name_is_the_same_below_any_folder() -> None:
    named = part_names.pattern(r"(?P<part>\d+)(_(?P<view>[a-z]+))?\.png", None)
    assert named is not None
    assert named.find("2026-11/12_top.png") == part_names.InName("12", "top")
    assert named.find("/line/night/12.png") == part_names.InName("12", None)
    assert named.find("none.jpg") is None
    by_folder = part_names.pattern(None, r"([^/]+)/[^/]+$")
    assert by_folder is not None
    assert by_folder.find("good/part7/top.png") == part_names.InName("part7", None)
    assert part_names.pattern("", "anything") is None


def test_a_pattern_in_params_that_is_none_is_named(empty_workspace: Workspace) -> None:
    change_params(empty_workspace, {"ingest": {"part_from": "part("}})
    with pytest.raises(BadParams, match=r"ingest\.part_from.*not a regular expression"):
        empty_workspace.params()


def manifest(folder: Path, text: str) -> str:
    path = folder / "lot.csv"
    path.write_text(text)
    return str(path)


def lot(folder: Path, n: int = 12) -> list[str]:
    names = [f"{number:03d}.png" for number in range(n)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number, defective=number % 3 == 0))
    return names


def test_labels_that_come_later_give_the_rows_their_split_too(empty_workspace: Workspace, tmp_path: Path) -> None:
    names = lot(tmp_path)
    ingest.ingest(empty_workspace, manifest(tmp_path, "path,label\n" + "".join(f"{name},\n" for name in names)))
    labelled = "path,label,labelled_by\n"
    labelled += "".join(f"{name},{'good' if n % 3 else 'defect'},lab\n" for n, name in enumerate(names))
    report = ingest.ingest(empty_workspace, manifest(tmp_path, labelled))
    assert (report.added, report.relabelled) == (0, 12)
    found = annotation_table.load(empty_workspace.annotations).to_pylist()
    assert {row["labelled_by"] for row in found} == {"lab"}
    assert {row["split"] for row in found} == {"train", "validation", "test"}
    other = empty_workspace.annotations.read_bytes()
    again = ingest.ingest(empty_workspace, manifest(tmp_path, labelled))
    assert (again.relabelled, again.already_present) == (0, 12)
    assert empty_workspace.annotations.read_bytes() == other


def test_labelled_rows_that_an_earlier_version_left_without_a_split_get_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = annotation_table.load(workspace.annotations).to_pylist()
    for row in rows[:20]:
        row["split"] = None
    annotation_table.save(annotation_table.from_rows(rows), workspace.annotations)
    ingest.ingest(workspace, str(tmp_path / "stock"), slice="matt")
    after = annotation_table.load(workspace.annotations).to_pylist()
    assert None not in {row["split"] for row in after}
    assert [row["split"] for row in after[20:]] == [row["split"] for row in rows[20:]]


def outlined(*box: int) -> bytes:
    import numpy as np

    pixels = np.zeros((64, 64), np.uint8)
    x, y, width, height = box
    pixels[y : y + height, x : x + width] = 255
    return codec.encode_png(pixels)


def deliver(place: Workspace, mask: bytes | None, *, by: str | None = "lab", at: str | None = None, **said: object):
    data = picture(0, defective=True)
    item = Delivery(
        name="a.png",
        read=lambda: data,
        label="defect",
        mask=None if mask is None else (lambda: mask),
        labelled_by=by,
        labelled_at=at,
        **said,  # type: ignore[arg-type]
    )
    report = ingest.take_in(place, Source("lot", [item]))
    return report, annotation_table.load(place.annotations).to_pylist()[0]


def test_masks_that_come_later_are_taken_in_and_counted_and_so_are_corrected_ones(empty_workspace: Workspace) -> None:
    _, bare = deliver(empty_workspace, None)
    first, with_mask = deliver(empty_workspace, outlined(1, 2, 3, 4), by="Ada", at="2026-01-02")
    second, corrected = deliver(empty_workspace, outlined(9, 9, 5, 5), by="Ben", at="2026-01-03")
    silent, kept = deliver(empty_workspace, None, by=None)
    assert bare["mask"] is None
    assert (first.added, first.redrawn, first.already_present) == (0, 1, 0)
    assert (with_mask["labelled_by"], with_mask["labelled_at"]) == ("Ada", "2026-01-02")
    assert (second.redrawn, corrected["labelled_by"]) == (1, "Ben")
    assert codec.read(empty_workspace.data / corrected["mask"])[11, 11, 0] == 255
    assert (silent.redrawn, silent.already_present) == (0, 1)
    assert kept == corrected
    assert (kept["split"], kept["part"]) == (bare["split"], bare["part"])


def test_boxes_that_come_later_are_taken_in_too(empty_workspace: Workspace) -> None:
    from pipelines.ingest.deliveries import Box

    deliver(empty_workspace, None)
    report, row = deliver(empty_workspace, None, boxes=[Box(1, 2, 3, 4, "scratch")])
    assert (report.redrawn, len(row["boxes"])) == (1, 1)
    again, _ = deliver(empty_workspace, None, boxes=[Box(1, 2, 3, 4, "scratch")])
    assert (again.redrawn, again.already_present) == (0, 1)


def test_a_mask_that_does_not_fit_is_refused_and_the_good_one_stays(empty_workspace: Workspace) -> None:
    _, before = deliver(empty_workspace, outlined(1, 2, 3, 4))
    small = codec.encode_png(codec.decode(outlined(1, 2, 3, 4))[:32, :32, 0])
    report, after = deliver(empty_workspace, small)
    assert "32×32 px" in report.quarantined[0].reason
    assert after == before
    fixed, last = deliver(empty_workspace, outlined(2, 2, 3, 4))
    assert (fixed.redrawn, fixed.quarantined) == (1, ())
    assert last["decode_error"] is None


def test_what_was_said_earlier_does_not_overrule_what_was_said_later(empty_workspace: Workspace) -> None:
    _, newest = deliver(empty_workspace, outlined(1, 2, 3, 4), at="2026-05-01T12:00:00")
    report, kept = deliver(empty_workspace, outlined(9, 9, 5, 5), by="Ada", at="2026-04-30T12:00:00+00:00")
    assert (report.redrawn, report.outdated) == (0, ("lot/a.png",))
    assert kept == newest


def test_a_part_that_is_stated_later_joins_its_images_unless_a_split_would_be_cut(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    names = lot(tmp_path)
    ingest.ingest(empty_workspace, manifest(tmp_path, "path,label\n" + "".join(f"{name},good\n" for name in names)))
    found = rows_by_path(empty_workspace)
    by_split: dict[str, list[str]] = {}
    for name in names:
        by_split.setdefault(found[f"lot/{name}"]["split"], []).append(name)
    train, test = by_split["train"][:2], by_split["test"][:1]
    stated = {train[0]: "A", train[1]: "A", by_split["train"][2]: "B", test[0]: "B"}
    text = "path,label,part\n" + "".join(f"{name},good,{stated.get(name, '')}\n" for name in names)
    report = ingest.ingest(empty_workspace, manifest(tmp_path, text))
    after = rows_by_path(empty_workspace)
    assert [after[f"lot/{name}"]["part"] for name in train] == ["A", "A"]
    assert (report.parted, len(report.unparted)) == (2, 2)
    assert {name: row["split"] for name, row in after.items()} == {name: row["split"] for name, row in found.items()}


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_correction_that_was_killed_is_finished_by_the_same_ingest(
    empty_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from tests.conftest import make_workspace

    names = lot(tmp_path)
    (tmp_path / "mask.png").write_bytes(outlined(3, 3, 9, 9))
    bare = "path,label\n" + "".join(f"{name},\n" for name in names)
    full = "path,label,mask\n" + "".join(f"{name},defect,mask.png\n" for name in names)
    undisturbed = make_workspace(tmp_path / "undisturbed")
    for place in (undisturbed, empty_workspace):
        ingest.ingest(place, manifest(tmp_path, bare))
    ingest.ingest(undisturbed, manifest(tmp_path, full))
    save = annotation_table.save

    def killed(*arguments) -> None:
        if where == "after":
            save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest.annotation_table, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.ingest(empty_workspace, manifest(tmp_path, full))
    ingest.ingest(empty_workspace, manifest(tmp_path, full))
    assert empty_workspace.annotations.read_bytes() == undisturbed.annotations.read_bytes()
    rows = annotation_table.load(empty_workspace.annotations).to_pylist()
    assert all((empty_workspace.data / row["mask"]).is_file() for row in rows)
