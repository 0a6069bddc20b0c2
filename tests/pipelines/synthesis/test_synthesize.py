from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from models.dataset import annotation_table, examples
from models.errors import BadData, BadInput, NotReady
from models.images import codec
from models.vocabulary import Split
from pipelines.audit.audit import audit
from pipelines.dataset_export.dataset_export import Target, export_dataset
from pipelines.image_files import quarantine
from pipelines.ingest import ingest, released
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.inspection import status, status_text
from pipelines.snapshots import data_card, history
from pipelines.synthesis import synthesize
from pipelines.training import register
from pipelines.workspace import Workspace
from tests.conftest import Command, picture


def made(place: Workspace) -> list[dict]:
    return [row for row in annotation_table.load(place.annotations).to_pylist() if row["synthetic"]]


def test_synthetic_images_carry_mask_type_and_origin_and_are_for_training(workspace: Workspace) -> None:
    report = synthesize.synthesize(workspace, ["scratch", "stain"], 3)
    assert report.added == 6
    rows = made(workspace)
    assert {row["split"] for row in rows} == {"train"}
    assert {tuple(row["defect_types"]) for row in rows} == {("scratch",), ("stain",)}
    for row in rows:
        assert (codec.read(workspace.data / row["mask"]) > 0).any()
        assert row["labelled_by"].startswith(f"synthesized: {row['defect_types'][0]}, seed 0, good ")
    good = {row["image"][:12]: row for row in annotation_table.load(workspace.annotations).to_pylist()}
    origins = [good[row["labelled_by"].split("good ")[1]] for row in rows]
    assert {(origin["split"], origin["label"]) for origin in origins} == {("train", "good")}


def test_the_same_seed_again_adds_nothing_and_a_larger_count_only_the_rest(workspace: Workspace) -> None:
    synthesize.synthesize(workspace, ["dent"], 3)
    before = workspace.annotations.read_bytes()
    assert synthesize.synthesize(workspace, ["dent"], 3).added == 0
    assert workspace.annotations.read_bytes() == before
    assert synthesize.synthesize(workspace, ["dent"], 5).added == 2
    assert synthesize.synthesize(workspace, ["dent"], 3, seed=1).added == 3


def test_real_defects_are_cut_from_training_parts_only(empty_workspace: Workspace, tmp_path: Path) -> None:
    for number in range(40):
        defective = number % 2 == 0
        folder = tmp_path / "stock" / ("scratch" if defective else "good")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = codec.decode(picture(number, defective=defective))
        (folder / f"{number}.bmp").write_bytes(_bmp(pixels))
        (folder / f"{number}.png").write_bytes(codec.encode_png(((pixels < 40) & defective).astype(np.uint8) * 255))
    ingest.ingest(empty_workspace, str(tmp_path / "stock"))
    assert synthesize.synthesize(empty_workspace, ["paste"], 4).added == 4
    by_hash = {row["image"][:12]: row for row in annotation_table.load(empty_workspace.annotations).to_pylist()}
    for row in made(empty_workspace):
        donor = by_hash[row["labelled_by"].split("defect of ")[1]]
        assert (donor["split"], donor["label"]) == ("train", "defect")
        assert row["defect_types"] == ["scratch"]
        pixels = codec.read(empty_workspace.data / row["file"])
        assert pixels[codec.read(empty_workspace.data / row["mask"]) > 0].mean() < 60


def _bmp(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(sink, format="BMP")
    return sink.getvalue()


def write_plates(folder: Path, n: int, **how: int) -> Path:
    """16-bit parts, as PNG; `bits` that count, `channels`."""
    for number in range(n):
        pixels = codec.decode(picture(number, defective=False)).astype(np.uint16) * 257
        pixels = np.repeat(pixels, how.get("channels", 1), axis=2)
        path = folder / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode_png(pixels, how.get("bits")))
    return folder


@pytest.mark.parametrize(("channels", "bits"), [(1, 12), (3, 16)])
def test_depth_and_colour_are_those_of_the_good_image(
    empty_workspace: Workspace, tmp_path: Path, channels: int, bits: int
) -> None:
    ingest.ingest(empty_workspace, str(write_plates(tmp_path / "deep", 8, channels=channels, bits=bits)), slice="deep")
    assert synthesize.synthesize(empty_workspace, ["crack", "missing-area"], 2).added == 4
    for row in made(empty_workspace):
        assert (row["channels"], row["bit_depth"]) == (channels, bits)
        pixels = codec.read(empty_workspace.data / row["file"])
        assert pixels.dtype == np.uint16
        assert (pixels % 257 != 0).any()  # finer than 8 bits widened


def test_another_slice_is_not_there_already(workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(workspace, str(write_plates(tmp_path / "deep", 8)), slice="deep")
    assert synthesize.synthesize(workspace, ["spot"], 2, slice="matt").added == 2
    other = synthesize.synthesize(workspace, ["spot", "spot"], 2, slice="deep")
    assert (other.added, other.already_present) == (2, 0)
    assert sorted(row["slice"] for row in made(workspace)) == ["deep", "deep", "matt", "matt"]
    with pytest.raises(NotReady, match="of slice glossy"):
        synthesize.synthesize(workspace, ["spot"], 2, slice="glossy")


def test_what_is_cut_out_by_its_box_gets_a_box_and_no_mask(empty_workspace: Workspace, tmp_path: Path) -> None:
    def box(number: int) -> Box:
        dark = codec.decode(picture(number, defective=True))[..., 0] < 40
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        return Box(float(columns[0]), float(rows[0]), float(len(columns)), float(len(rows)), "gouge")

    deliveries = [
        Delivery(
            name=f"{number}.png",
            read=lambda number=number: picture(number, defective=number < 4),
            part=str(number),
            label="defect" if number < 4 else "good",
            split="train",
            defect_types=("gouge",) if number < 4 else (),
            boxes=[box(number)] if number < 4 else [],
        )
        for number in range(12)
    ]
    ingest.take_in(empty_workspace, Source("boxes", deliveries))
    assert synthesize.synthesize(empty_workspace, ["paste"], 3).added == 3
    for row in made(empty_workspace):
        assert row["mask"] is None
        (found,) = row["boxes"]
        assert found["defect_type"] == "gouge"
        left, top = int(found["x"]), int(found["y"])
        inside = codec.read(empty_workspace.data / row["file"])[
            top : top + int(found["height"]), left : left + int(found["width"])
        ]
        assert inside.mean() < 60


def test_what_fits_nowhere_is_named_and_not_made(empty_workspace: Workspace, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(4):  # so loud that no stain would show
        path = tmp_path / "loud" / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode_png(random.integers(0, 2, (64, 64)).astype(np.uint8) * 255))
    ingest.ingest(empty_workspace, str(tmp_path / "loud"), part_from=r"good/\d")
    report = synthesize.synthesize(empty_workspace, ["stain"], 2)
    assert (report.added, len(report.skipped)) == (0, 2)
    assert report.skipped[0] == "stain/seed0-00000.png"


def test_without_masks_or_boxes_there_is_nothing_to_cut(workspace: Workspace) -> None:
    with pytest.raises(NotReady, match="mask or a box"):
        synthesize.synthesize(workspace, ["paste"], 1)


def test_an_unknown_kind_is_named(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="rust"):
        synthesize.synthesize(workspace, ["rust"], 1)


def test_no_synthetic_image_gets_into_another_split(workspace: Workspace) -> None:
    tested = next(row for row in annotation_table.load(workspace.annotations).to_pylist() if row["split"] == "test")
    sly = Delivery(
        "sly.png",
        lambda: picture(900, defective=True),
        part=tested["part"],
        label="defect",
        split="test",
        synthetic=True,
    )
    before = workspace.annotations.read_bytes()
    with pytest.raises(BadData, match=r"not in the training split \(first: sly.png\)"):
        ingest.take_in(workspace, Source("sly", [sly]))
    assert workspace.annotations.read_bytes() == before


def test_a_manifest_that_calls_a_synthetic_image_a_test_part_changes_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    synthesize.synthesize(workspace, ["dent"], 1)
    (before,) = made(workspace)
    (tmp_path / "stolen.png").write_bytes((workspace.data / before["file"]).read_bytes())
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"path,label,split,part\nstolen.png,defect,test,{before['part']}\n")
    report = ingest.ingest(workspace, str(manifest))
    assert [entry.reason for entry in report.quarantined] == [
        "duplicate: the same bytes as synthetic/dent/seed0-00000.png"
    ]
    assert made(workspace) == [before]


def test_a_synthetic_image_comes_back_from_quarantine_as_what_it_was(workspace: Workspace) -> None:
    synthesize.synthesize(workspace, ["dent"], 1)
    (before,) = made(workspace)
    data = (workspace.data / before["file"]).read_bytes()
    entry = quarantine.put(workspace, before | {"split": "test", "part": "anew"}, "too odd", data)
    rest = annotation_table.load(workspace.annotations)
    annotation_table.save(rest.filter(pc.invert(rest["synthetic"])), workspace.annotations)
    assert released.release(workspace, [entry], label=None, reviewer="quality lab").added == 1
    (after,) = made(workspace)
    assert after["split"] == "train"
    assert after["mask"] == before["mask"]


def test_a_photograph_like_a_synthetic_image_joins_a_photographed_part(workspace: Workspace) -> None:
    synthesize.synthesize(workspace, ["spot"], 3)
    (copied, *_) = made(workspace)
    pixels = codec.read(workspace.data / copied["file"])
    again = codec.encode_png(np.clip(pixels.astype(int) + 1, 0, 255).astype(np.uint8))
    ingest.take_in(workspace, Source("line camera", [Delivery("again.png", lambda: again, label="good")]))
    rows = annotation_table.load(workspace.annotations).to_pylist()
    (photograph,) = [row for row in rows if row["source"] == "line camera"]
    assert not photograph["part"].startswith("synthetic/")


def test_synthetic_images_are_counted_apart(workspace: Workspace) -> None:
    before = annotation_table.load(workspace.annotations)
    synthesize.synthesize(workspace, ["scratch"], 4)
    table = annotation_table.load(workspace.annotations)
    card = data_card.render("widgets", table, [])
    assert "60 images of 60 parts, and 4 synthetic images in the training split" in card
    assert "| matt: synthesized: scratch | 4 |" in card
    assert (
        card.split("## Synthetic")[0].replace(", and 4 synthetic images in the training split", "")
        == (data_card.render("widgets", before, []).split("## Known")[0])
    )
    difference = history.compare("1", before, "2", table)
    assert (len(difference.added), difference.synthetic_added, difference.synthetic_removed) == (4, 4, 0)
    counted = register.profile(table.to_pylist())
    assert counted.pop("synthetic") == 4
    assert counted == register.profile(before.to_pylist()) | {"images": 64}
    assert "64 images, 4 of them synthetic" in status_text.render(status.status(workspace))
    training = examples.of_split(table, workspace.data, Split.TRAIN, [])
    assert training.synthetic.sum() == 4
    assert {part.split("/")[0] for part, one in zip(training.parts, training.synthetic, strict=True) if one} == {
        "synthetic"
    }


def test_validation_and_test_parts_are_the_same_with_and_without_synthetic_images(workspace: Workspace) -> None:
    def measured() -> list[list[str]]:
        table = annotation_table.load(workspace.annotations)
        return [examples.of_split(table, workspace.data, split, []).images for split in (Split.VALIDATION, Split.TEST)]

    before = measured()
    synthesize.synthesize(workspace, ["spot"], 5)
    assert measured() == before


def test_synthetic_images_are_neither_audited_as_copies_nor_handed_over(workspace: Workspace, tmp_path: Path) -> None:
    synthesize.synthesize(workspace, ["spot"], 4)
    assert "near-duplicates" not in {item.kind for item in audit(workspace).findings}
    assert export_dataset(workspace, Target.COCO, tmp_path / "out").left_out["synthetic image"] == 4


def test_the_preview_adds_nothing(workspace: Workspace, tmp_path: Path, defectloop: Command) -> None:
    before = workspace.annotations.read_bytes()
    said = defectloop("synthesize", "--preview", tmp_path / "page.html", "--workspace", workspace.root)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "page.html").read_text().count("<figure>") == 24
    assert workspace.annotations.read_bytes() == before
