from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import annotation_table, examples, images
from models.errors import BadData, BadInput, NotReady
from models.vocabulary import Split
from pipelines import synthesize
from pipelines.audit.audit import audit
from pipelines.handover.handover import Target, hand_over
from pipelines.ingest import ingest
from pipelines.ingest.deliveries import Delivery, Source
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
        assert (images.read(workspace.data / row["mask"]) > 0).any()
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
        pixels = images.decode(picture(number, defective=defective))
        (folder / f"{number}.bmp").write_bytes(_bmp(pixels))
        (folder / f"{number}.png").write_bytes(images.encode_png(((pixels < 40) & defective).astype(np.uint8) * 255))
    ingest.ingest(empty_workspace, str(tmp_path / "stock"))
    assert synthesize.synthesize(empty_workspace, ["paste"], 4).added == 4
    by_hash = {row["image"][:12]: row for row in annotation_table.load(empty_workspace.annotations).to_pylist()}
    for row in made(empty_workspace):
        donor = by_hash[row["labelled_by"].split("defect of ")[1]]
        assert (donor["split"], donor["label"]) == ("train", "defect")
        assert row["defect_types"] == ["scratch"]
        pixels = images.read(empty_workspace.data / row["file"])
        assert pixels[images.read(empty_workspace.data / row["mask"]) > 0].mean() < 60


def _bmp(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(sink, format="BMP")
    return sink.getvalue()


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


def test_validation_and_test_parts_are_the_same_with_and_without_synthetic_images(workspace: Workspace) -> None:
    def measured() -> list[list[str]]:
        table = annotation_table.load(workspace.annotations)
        return [examples.of_split(table, workspace.data, split).images for split in (Split.VALIDATION, Split.TEST)]

    before = measured()
    synthesize.synthesize(workspace, ["spot"], 5)
    assert measured() == before


def test_synthetic_images_are_neither_audited_as_copies_nor_handed_over(workspace: Workspace, tmp_path: Path) -> None:
    synthesize.synthesize(workspace, ["spot"], 4)
    assert "near-duplicates" not in {item.kind for item in audit(workspace).findings}
    assert hand_over(workspace, Target.COCO, tmp_path / "out").left_out["synthetic image"] == 4


def test_the_preview_adds_nothing(workspace: Workspace, tmp_path: Path, defectloop: Command) -> None:
    before = workspace.annotations.read_bytes()
    said = defectloop("synthesize", "--preview", tmp_path / "page.html", "--workspace", workspace.root)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "page.html").read_text().count("<figure>") == 24
    assert workspace.annotations.read_bytes() == before
