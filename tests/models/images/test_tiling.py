from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dataset import tiles
from models.dataset.examples import Examples
from models.errors import BadData
from models.images import codec, tiling
from models.images.tiling import Window
from models.vocabulary import Prediction, Region


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 700))
def test_tiles_cover_the_image_and_overlap_by_a_quarter(width: int, height: int, tile_px: int) -> None:
    found = tiling.windows(width, height, tile_px)
    for length, starts in ((width, {w.x for w in found}), (height, {w.y for w in found})):
        ordered = sorted(starts)
        assert ordered[0] == 0
        assert ordered[-1] + min(tile_px, length) == length
        assert all(b - a <= tile_px * (1 - tiling.OVERLAP) + 1 for a, b in itertools.pairwise(ordered))
    assert all(window.width <= tile_px and window.height <= tile_px for window in found)


def answer(heat: np.ndarray, raw: float, *regions: Region) -> Prediction:
    return Prediction(
        score=1 / (1 + np.exp(-raw)),
        raw_score=raw,
        heatmap=heat.astype(np.float32),
        embedding=np.array([raw], np.float32),
        projection=np.array([raw, 1], np.float32),
        class_probabilities={"dent": raw / 10},
        regions=regions,
    )


def seen(image: np.ndarray, tile_px: int, cells: int) -> Prediction:
    """A detector whose heatmap is the image, made small."""
    height, width = image.shape
    answers = []
    for window in tiling.windows(width, height, tile_px):
        step = tile_px // cells
        heat = window.of(image)[::step, ::step]
        answers.append((window, answer(heat, float(heat.max()))))
    return tiling.joined(answers, width, height, own_boxes=False)


def test_the_joined_heatmap_has_no_seams() -> None:
    across, down = np.meshgrid(np.linspace(0, 1, 640), np.linspace(0, 0.5, 320))
    joined = seen(across + down, 128, 32)
    assert joined.heatmap.shape == (80, 160)
    assert np.allclose(joined.heatmap, (across + down)[::4, ::4], atol=0.02)
    steps = np.abs(np.diff(joined.heatmap, axis=1))
    assert steps.max() < 3 * np.median(steps)


def test_the_most_suspicious_tile_decides() -> None:
    image = np.zeros((100, 400))
    image[50, 330] = 8
    joined = seen(image, 100, 100)
    assert joined.raw_score == 8
    assert joined.class_probabilities == {"dent": 0.8}
    assert np.unravel_index(joined.heatmap.argmax(), joined.heatmap.shape) == (50, 330)


def test_a_defect_that_two_tiles_see_is_one_region() -> None:
    left = answer(np.zeros((8, 8)), 1, Region(80, 10, 20, 20, 0.9, "dent"), Region(82, 10, 18, 20, 0.8, "crack"))
    right = answer(np.zeros((8, 8)), 2, Region(6, 10, 19, 20, 0.7, "dent"), Region(60, 10, 9, 9, 0.6, "dent"))
    placed = [(Window(0, 0, 100, 100), left), (Window(75, 0, 100, 100), right)]
    joined = tiling.joined(placed, 175, 100, own_boxes=True)
    assert [(one.x, one.score, one.defect_type) for one in joined.regions] == [
        (80, 0.9, "dent"),
        (82, 0.8, "crack"),
        (135, 0.6, "dent"),
    ]


def large_examples(folder: Path, *, mask: bool = False, boxes: np.ndarray | None = None) -> Examples:
    """One image of 300 × 200 px, defective in its upper left corner."""
    pixels = np.full((200, 300, 1), 120, np.uint8)
    pixels[5:25, 5:25] = 10
    (folder / "a.png").write_bytes(codec.encode_png(pixels))
    (folder / "mask.png").write_bytes(codec.encode_png((pixels < 50).astype(np.uint8) * 255))
    return Examples(
        images=["a"],
        parts=["part"],
        files=[folder / "a.png"],
        targets=np.ones(1, np.float32),
        types=[(0,)],
        masks=[folder / "mask.png" if mask else None],
        boxes=[np.zeros((0, 5), np.float32) if boxes is None else boxes],
        synthetic=np.zeros(1, bool),
        defect_types=("dent",),
    )


BOX = np.array([[5 / 300, 5 / 200, 25 / 300, 25 / 200, 0]], np.float32)


@pytest.mark.parametrize("known", [{"mask": True}, {"boxes": BOX}, {"mask": True, "boxes": BOX}])
def test_a_tile_is_defective_where_mask_or_boxes_say_so(tmp_path: Path, known: dict) -> None:
    found = tiles.cut(large_examples(tmp_path, **known), 100, tmp_path / "cache", learning=True)
    assert len(found) == 4 * 3
    assert found.targets.sum() == 1
    assert found.types.count((0,)) == 1
    assert set(found.parts) == {"part"}
    hit = int(found.targets.argmax())
    assert codec.read(found.files[hit]).shape == (100, 100, 1)
    if "boxes" in known:
        assert np.allclose(found.boxes[hit], [[0.05, 0.05, 0.25, 0.25, 0]])
        assert sum(len(boxes) for boxes in found.boxes) == 1
    if "mask" in known:
        assert (codec.read(found.masks[hit])[5:25, 5:25] == 255).all()  # type: ignore[arg-type]


def test_tiles_follow_a_corrected_mask_and_heal(tmp_path: Path) -> None:
    examples = large_examples(tmp_path, mask=True)
    first = tiles.cut(examples, 100, tmp_path / "cache", learning=True)
    corrected = np.zeros((200, 300, 1), np.uint8)
    corrected[5:15, 5:25] = 255
    (tmp_path / "mask.png").write_bytes(codec.encode_png(corrected))
    hit = int(first.targets.argmax())
    first.files[hit].write_bytes(first.files[hit].read_bytes()[:40])
    second = tiles.cut(examples, 100, tmp_path / "cache", learning=True)
    assert (codec.read(first.masks[hit]) > 0).sum() == 400  # type: ignore[arg-type]
    assert (codec.read(second.masks[hit]) > 0).sum() == 200  # type: ignore[arg-type]
    assert codec.read(second.files[hit]).shape == (100, 100, 1)


def test_a_large_defective_image_without_a_place_is_named(tmp_path: Path) -> None:
    examples = large_examples(tmp_path)
    with pytest.raises(BadData, match=r"a\.png is defective and larger than model.tile_px"):
        tiles.cut(examples, 100, tmp_path / "cache", learning=True)
    held = tiles.cut(examples, 100, tmp_path / "cache", learning=False)
    assert held.targets.all()  # a verdict is about the part


def test_images_no_larger_than_a_tile_stay_as_they_are(tmp_path: Path) -> None:
    examples = large_examples(tmp_path)
    found = tiles.cut(examples, 300, tmp_path / "cache", learning=True)
    assert found.files == examples.files
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_a_tiled_line_finds_small_defects_in_large_images_and_memory_stays_flat(tmp_path: Path) -> None:
    import resource

    from models.detector.runtime import Detector
    from models.vocabulary import Verdict
    from pipelines.adapters import dataset_versions
    from pipelines.ingest import ingest
    from pipelines.snapshots import snapshot
    from pipelines.validation import validate
    from tests.conftest import change_params, make_workspace

    place = make_workspace(tmp_path / "workspace")
    change_params(place, {"model": {"tile_px": 64}})
    random = np.random.default_rng(0)
    folder = tmp_path / "parts"
    folder.mkdir()

    def part(defective: bool, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = 110 + 8 * random.standard_normal((height, width))
        mask = np.zeros((height, width), np.uint8)
        if defective:
            y, x = random.integers(0, height - 14), random.integers(0, width - 5)
            pixels[y : y + 14, x : x + 5] = 20
            mask[y : y + 14, x : x + 5] = 255
        return np.clip(pixels, 0, 255).astype(np.uint8), mask

    for number in range(36):
        pixels, mask = part(number % 3 == 0, 96, 200)
        (folder / f"{number:02d}.jpg").write_bytes(jpeg(pixels))
        (folder / f"{number:02d}.png").write_bytes(codec.encode_png(mask))
    ingest.ingest(place, str(folder))
    validate.validate(place)
    snapshot.snapshot(place)
    for stage in ("train", "export"):
        dataset_versions.run_stage(place, stage)
    detector = Detector(place.artifacts / "export" / "detector.onnx")
    hits = 0
    for number in range(20):
        pixels, mask = part(number % 2 == 0, 96, 200)
        found = detector.predict(codec.decode(jpeg(pixels)))
        hits += (detector.verdict(found.score) == Verdict.FAIL) == bool(mask.any())
        if mask.any():
            y, x = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
            scale = 96 / found.heatmap.shape[0]
            assert mask[
                max(int(y * scale) - 16, 0) : int(y * scale) + 24, max(int(x * scale) - 16, 0) : int(x * scale) + 24
            ].any()
    assert hits >= 17
    strip = part(True, 2000, 8000)[0][..., None]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    detector.predict(strip)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KB; the heatmap, not the tiles


def jpeg(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="JPEG", quality=95)
    return sink.getvalue()
