"""The benchmarks run and say what they found; how fast a machine is, is no test."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import anomaly, defect_types, detection, lines, page, segmentation, snapshot


@pytest.mark.slow
def test_the_snapshot_benchmark_measures_every_step(tmp_path: Path) -> None:
    result = snapshot.measure(tmp_path, n_base=30, n_more=10, repeats=2)
    assert len(result.alone) == len(result.onto) == 2
    text = snapshot.report(result, 30, 10)
    assert "Adding 10 to 30 costs" in text
    assert "snapshot of 10 more onto 30" in text


def test_a_benchmark_replaces_its_own_section_and_no_other(tmp_path: Path) -> None:
    where = tmp_path / "page.md"
    for title, text in (("Ingest", "slow"), ("Snapshot", "slow"), ("Ingest", "fast")):
        page.write(title, text, where)
    content = where.read_text()
    assert content.startswith("# Benchmarks")
    assert content.index("## Ingest\n\nfast") < content.index("## Snapshot\n\nslow")
    assert content.count("## Ingest") == 1
    assert content.count("Measured") == 2


def test_a_section_names_the_settings_that_its_benchmark_changed(tmp_path: Path) -> None:
    where = tmp_path / "page.md"
    page.write("Bottles", "AUROC 1", where, {"model": {"kind": "anomaly"}, "train": {"flips": ["none", "both"]}})
    assert "`model.kind: anomaly`, `train.flips: [none, both]`" in where.read_text()


@pytest.mark.parametrize("ratio", [1.9, 2.1])
def test_a_broken_promise_is_the_exit_code(ratio: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = snapshot.Result([1.0], 1.0, [ratio], 1.0, 1.0, 1.0)
    monkeypatch.setattr(snapshot, "measure", lambda *_: made)
    assert snapshot.main(["--where", str(tmp_path)]) == (ratio > snapshot.MAX_RATIO)


def test_the_split_for_boxes_keeps_parts_together_and_classes_even() -> None:
    names = [f"{kind}_{number}.jpg" for kind in ("rolled-in_scale", "patches") for number in range(100)]
    parts = [name if name not in ("patches_1.jpg", "patches_5.jpg") else "the same" for name in names]
    table = pa.table({"source_path": names, "part": parts, "split": pa.nulls(200, pa.string())})
    for seed in range(5):
        made = dict(
            zip(
                names,
                lines.drawn(table, detection.class_of, seed, test=0.2, validation=0.08)["split"].to_pylist(),
                strict=True,
            )
        )
        assert made["patches_1.jpg"] == made["patches_5.jpg"]
        for kind in ("rolled-in_scale", "patches"):
            mine = [split for name, split in made.items() if name.startswith(kind)]
            assert abs(mine.count("test") - 20) <= 1
            assert abs(mine.count("validation") - 8) <= 1


def test_a_tile_is_a_run_of_numbers_and_whatever_looks_like_it() -> None:
    looks = {
        "MT_Free/Imgs/exp1_num_1000.jpg": "a",
        "MT_Free/Imgs/exp2_num_1020.jpg": "b",
        "MT_Free/Imgs/exp5_num_9000.jpg": "c",  # far, but its exposure goes on: the same tile
        "MT_Free/Imgs/exp1_num_9900.jpg": "d",
        "MT_Crack/Imgs/exp1_num_1010.jpg": "e",
        "MT_Crack/Imgs/exp1_num_7000.jpg": "d",  # looks like a free one
        "dataset.jpg": "f",
    }
    table = pa.table({"source_path": list(looks), "part": list(looks.values())})
    named = {row["source_path"]: row["part"] for row in segmentation.with_parts(table).to_pylist()}
    assert "dataset.jpg" not in named
    first, second, third, other, crack, alike = named.values()
    assert first == second == third
    assert other == alike
    assert len({first, other, crack}) == 3


def test_a_benchmark_without_its_data_is_skipped(tmp_path: Path) -> None:
    assert detection.main(["--data", str(tmp_path)]) == 0
    assert segmentation.main(["--data", str(tmp_path)]) == 0
    assert anomaly.main(["--data", str(tmp_path / "nowhere")]) == 0
    assert defect_types.main(["--data", str(tmp_path / "nowhere")]) == 0
