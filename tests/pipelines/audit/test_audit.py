"""One test a kind of trouble: a delivery that has it, and what the audit says."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from models.dataset import annotation_table
from models.evaluation.twins import Difference, Effect, Twins
from models.images.near_duplicates import Pair
from models.metrics.verdict_metrics import Metrics
from pipelines.audit import duplicates, label_errors, twins
from pipelines.audit.audit import AuditReport, audit
from pipelines.audit.file_facts import read
from pipelines.audit.finding import Finding
from pipelines.ingest import ingest
from pipelines.workspace import Workspace
from tests import pages
from tests.conftest import Command, change_params, picture
from tests.models.images.test_near_duplicates import surface
from tests.models.images.test_part_grouping import unlike_tones

DATASETS = Path(os.environ.get("DATASETS", "/nowhere"))
needs_datasets = pytest.mark.skipif(not DATASETS.is_dir(), reason="the real data sets are not here")


def deliver(folder: Path, name: str, image: np.ndarray, **options: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(path, **options)


def stock(folder: Path, n: int = 24) -> Path:
    for seed in range(n):
        deliver(folder, f"{'good' if seed % 2 else 'scratch'}/{seed:03d}.png", surface(seed, 64))
    return folder


def found(report: AuditReport) -> dict[str, Finding]:
    return {item.kind: item for item in report.findings}


def audited(place: Workspace, source: Path, **options: str) -> dict[str, Finding]:
    change_params(place, {"validate": {"min_parts_per_class": {"train": 1, "validation": 1, "test": 1}}})
    ingest.ingest(place, str(source), **options)
    return found(audit(place))


def manifest(folder: Path, lines: list[str], columns: str = "path,label,part,split") -> Path:
    (folder / "all.csv").write_text("\n".join([columns, *lines]) + "\n")
    return folder / "all.csv"


def test_a_clean_delivery_has_nothing_to_report_but_how_little_it_proves(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    assert set(audited(empty_workspace, stock(tmp_path / "stock"))) == {"little-proof"}


def test_copies_that_are_stated_to_be_other_parts_straddle_a_split(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock")
    lines = [
        f"{'good' if s % 2 else 'scratch'}/{s:03d}.png,{'good' if s % 2 else 'defect'},p{s},train" for s in range(24)
    ]
    deliver(folder, "turned.png", np.ascontiguousarray(np.rot90(surface(3, 64))))
    report = audited(empty_workspace, manifest(folder, [*lines, "turned.png,good,other,test"]))
    straddling = report["duplicates-across-splits"]
    assert straddling.severity == "problem"
    assert "test and train" in straddling.cases[0].caption or "train and test" in straddling.cases[0].caption
    assert "rotated" in straddling.cases[0].caption
    page = empty_workspace.artifacts / "audit" / "report.html"
    assert pages.faults(page) == []


def test_without_stated_parts_a_copy_joins_the_part_and_its_split(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock")
    for seed in range(6):
        deliver(folder, f"{'good' if seed % 2 else 'scratch'}/again{seed}.jpg", surface(seed, 64), quality=60)
    report = audited(empty_workspace, folder)
    assert "duplicates-across-splits" not in report
    assert report["repeated-parts"].count == 12


def test_one_image_under_two_labels_is_a_problem(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock")
    deliver(folder, "scratch/copy.bmp", surface(3, 64))
    assert "good and scratch" in audited(empty_workspace, folder)["same-image-different-labels"].cases[0].caption


def test_the_same_bytes_under_two_labels_are_a_problem(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock")
    deliver(folder, "scratch/copy.png", surface(3, 64))
    report = audited(empty_workspace, folder)
    assert report["same-bytes-different-labels"].count == 1
    assert report["exact-duplicates"].count == 1


def test_a_file_format_that_tells_the_label_is_a_leak(empty_workspace: Workspace, tmp_path: Path) -> None:
    for seed in range(60):
        name = f"good/{seed}.png" if seed % 2 else f"scratch/{seed}.jpg"
        deliver(tmp_path / "stock", name, surface(seed, 64))
    leak = audited(empty_workspace, tmp_path / "stock")["leak-format"]
    assert any("PNG: 30 of 30 images are good" in case.caption for case in leak.cases)


def test_an_exposure_time_that_tells_the_label_is_a_leak(empty_workspace: Workspace, tmp_path: Path) -> None:
    for seed in range(60):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01 if seed % 2 else 0.02
        deliver(
            tmp_path / "stock",
            f"{'good' if seed % 2 else 'scratch'}/{seed}.jpg",
            surface(seed, 64),
            exif=exif,
            quality=90,
        )
    report = audited(empty_workspace, tmp_path / "stock")
    assert any("0.01 s" in case.caption for case in report["leak-exposure"].cases)
    assert "leak-format" not in report


def test_what_a_jpeg_says_of_its_quality_is_read_back(tmp_path: Path) -> None:
    for quality in (30, 75, 95):
        deliver(tmp_path, f"{quality}.jpg", surface(0, 64), quality=quality)
        assert read(tmp_path / f"{quality}.jpg")["compression"] == f"JPEG quality {quality}"


def test_boxes_outside_empty_masks_and_masks_on_good_parts_are_told(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "stock"
    mask = np.zeros((64, 64, 1), np.uint8)
    for seed in range(12):
        kind = "good" if seed % 2 else "scratch"
        deliver(folder, f"{kind}/{seed}.jpg", surface(seed, 64))
        drawn = mask.copy()
        drawn[10:20, 10:20] = 255 * (seed in (1, 2, 4, 6))
        deliver(folder, f"{kind}/{seed}.png", drawn)
    report = audited(empty_workspace, folder)
    assert report["empty-masks"].count == 3
    assert report["masks-on-good-parts"].count == 1
    other = tmp_path / "coco"
    deliver(other, "a.png", surface(50, 64))
    note = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [50, 50, 30, 10]}],
    }
    (other / "notes.json").write_text(json.dumps(note))
    outside = audited(empty_workspace, other / "notes.json")["boxes-outside"]
    assert outside.cases[0].caption == "16 px outside"


def test_classes_that_are_too_small_are_told_with_what_is_missing(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(empty_workspace, str(stock(tmp_path / "stock", 10)))
    change_params(empty_workspace, {"validate": {"min_parts_per_class": {"train": 20, "validation": 1, "test": 1}}})
    small = found(audit(empty_workspace))["small-classes"]
    assert "good: 17 more train parts (3 of 20)" in small.explanation


def test_images_of_another_size_and_black_ones_stand_out(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock", 40)
    deliver(folder, "good/large.png", surface(90, 96))
    deliver(folder, "good/black.png", np.zeros((64, 64, 1), np.uint8))
    report = audited(empty_workspace, folder)
    assert [case.caption for case in report["odd-size-px"].cases] == ["96×96"]
    assert report["odd-looks"].count == 1


def test_a_slice_without_test_parts_is_told(empty_workspace: Workspace, tmp_path: Path) -> None:
    audited(empty_workspace, stock(tmp_path / "stock"))
    deliver(tmp_path / "new", "good/one.png", surface(70, 64))
    told = audited(empty_workspace, tmp_path / "new", slice="brushed")["slices"]
    assert any("brushed: " in case.caption and "no good test parts" in case.caption for case in told.cases)


def test_flipped_labels_are_ranked_first() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], 100)
    features = random.standard_normal((200, 20)) + 4 * truth[:, None] * (np.arange(20) < 5)
    said = truth.copy()
    flipped = [3, 50, 120, 180]
    said[flipped] = 1 - said[flipped]
    names = [f"image {number}" for number in range(200)]
    result = label_errors.findings(
        names, [("good", "scratch")[kind] for kind in said], names, features.astype(np.float32)
    )
    assert {case.images[0] for case in result[0].cases[:4]} == {f"image {number}" for number in flipped}


def test_an_unchanged_dataset_is_not_audited_again(workspace: Workspace) -> None:
    first = audit(workspace)
    page = workspace.root / first.page
    page.write_text("kept")
    assert audit(workspace) == first
    assert page.read_text() == "kept"


def test_the_page_shows_pictures_and_escapes_names(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = stock(tmp_path / "stock")
    deliver(folder, "good/<b>&.jpg", surface(3, 64))
    audited(empty_workspace, folder)
    html = (empty_workspace.root / "artifacts" / "audit" / "report.html").read_text()
    assert "data:image/jpeg;base64," in html
    assert "&lt;b&gt;&amp;.jpg" in html
    assert "<b>&.jpg" not in html


@pytest.mark.slow
def test_the_command_names_every_finding(workspace: Workspace, tmp_path: Path, defectloop: Command) -> None:
    twice = tmp_path / "twice" / "good" / "copy.png"
    twice.parent.mkdir(parents=True)
    twice.write_bytes(picture(1, defective=False))
    ingest.ingest(workspace, str(tmp_path / "twice"))
    change_params(workspace, {"model": {"weights": "none"}})
    said = defectloop("audit", "--workspace", workspace.root)
    assert said.returncode == 0, said.stderr
    assert "note     1 file is a copy of another one" in said.stdout


@needs_datasets
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "kind", "count"),
    [
        ("x_sdd/X-SDD/datas", "exact-duplicates", 9),
        ("x_sdd/X-SDD/datas", "leak-format", 1),
        ("x_sdd/X-SDD/datas", "odd-size-px", 2),
        ("neu_det", "exact-duplicates", 1),
        ("magnetic_tile", "empty-masks", 4),
    ],
)
def test_what_is_known_about_the_real_data_sets_is_found(
    source: str, kind: str, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert _real(source, tmp_path_factory)[kind].count == count


@needs_datasets
@pytest.mark.slow
def test_the_repeated_parts_of_the_magnetic_tiles_are_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert _real("magnetic_tile", tmp_path_factory)["repeated-parts"].count > 1000


_reports: dict[str, dict[str, Finding]] = {}


def _real(source: str, factory: pytest.TempPathFactory) -> dict[str, Finding]:
    from tests.conftest import make_workspace

    if source not in _reports:
        place = make_workspace(factory.mktemp("real") / "workspace")
        ingest.ingest(place, str(DATASETS / source))
        _reports[source] = found(audit(place))
    return _reports[source]


def test_pairs_among_many_look_alike_parts_are_a_note_and_no_leak() -> None:
    n = 100
    columns = {"image": [f"{number}" for number in range(n)], "part": [f"p{number}" for number in range(n)]}
    frame = pd.DataFrame(columns | {"split": ["train", "test"] * (n // 2), "truth": "good", "synthetic": False})
    chain = [Pair(number, number + 1, 0.9, (0, False)) for number in range(n - 1)]
    assert kinds(duplicates.findings(frame, chain, unlike_tones)) == {"look-alikes-across-splits": "warning"}
    frame["split"] = "train"
    assert kinds(duplicates.findings(frame, chain, unlike_tones)) == {"look-alike-parts": "note"}


def kinds(findings: list[Finding]) -> dict[str, str]:
    return {one.kind: one.severity.value for one in findings}


def test_copies_of_one_photograph_in_two_splits_are_a_problem_whatever_the_metrics_say() -> None:
    frame = pd.DataFrame({"image": ["a", "b"], "part": ["p", "q"], "split": ["train", "test"]})
    frame = frame.assign(truth="good", synthetic=False)

    def same_tones(places: Sequence[int]) -> np.ndarray:
        return np.repeat(unlike_tones([0]), len(places), axis=0)

    found = kinds(duplicates.findings(frame, [Pair(0, 1, 0.9, (0, False))], same_tones))
    assert found["duplicates-across-splits"] == "problem"
    assert "look-alikes-across-splits" not in found


def effect(low: float, high: float) -> Twins:
    metrics = Metrics.from_dict(
        dict.fromkeys((f.name for f in fields(Metrics)), 0.8) | {"n": 50, "n_defective": 20, **NO_INTERVALS}
    )
    one = Effect(60, 10, metrics, {"auroc": Difference(0.9, 0.9 - (low + high) / 2, low, high)})
    return Twins(0, one, {"matt": one})


NO_INTERVALS: dict = {"intervals": {}, "at_most": {}, "defect_rate": None}


@pytest.mark.parametrize(
    ("measured", "severity", "said"),
    [
        (None, "warning", "not measured yet"),
        (effect(0.02, 0.08), "problem", "flatter the metrics"),
        (effect(-0.03, 0.01), "note", "do not flatter the metrics"),
        (effect(math.nan, math.nan), "warning", "could not be measured"),
    ],
)
def test_look_alikes_in_two_splits_are_as_severe_as_what_they_do_to_the_metrics(
    measured: Twins | None, severity: str, said: str
) -> None:
    [found] = duplicates.findings(
        pd.DataFrame({"image": ["a", "b"], "part": "p", "split": ["train", "test"], "truth": "good"}),
        [Pair(0, 1, 0.9, (0, False))],
        unlike_tones,
    )[:1]
    judged = duplicates.judged(found, measured)
    assert (judged.severity, judged.count) == (severity, 1)
    assert said in judged.title


@pytest.mark.slow
def test_an_evaluation_settles_what_the_audit_could_not_know(champion_workspace: Workspace) -> None:
    """The champion's evaluation has measured the twins: the audit of the same table no longer asks for it."""
    place = champion_workspace
    rows = annotation_table.load(place.annotations).to_pylist()
    found = twins.of_test_parts(place, rows)
    kept = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())["twins"]
    assert kept["overall"]["n_with_twin"] == len(found.all)
    assert twins.measured(place) is not None
    for report in (audit(place), audit(place)):
        assert "not measured yet" not in " ".join(one.title for one in report.findings)
    (place.artifacts / "evaluate" / "evaluation.json").write_text("{}")  # as an older release wrote it: no such field
    assert twins.measured(place) is None
    audit(place)
