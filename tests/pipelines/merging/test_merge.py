"""People's data and automation's as one: nothing is lost, and no part moves towards the test split, whoever merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dataset import annotation_table
from models.errors import BadData, BadInput, NotReady, Refused
from pipelines.adapters import dataset_versions, git
from pipelines.ingest import ingest
from pipelines.merging import merge
from pipelines.merging.joining import Earlier, join, misused
from pipelines.snapshots import snapshot
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import write_parts

ORDER = ["train", "validation", "test"]


def row(
    image: int, part: int, split: str | None, label: str = "good", labelled_at: str | None = None
) -> dict[str, Any]:
    return {
        "image": f"image{image}",
        "file": "",
        "line": "widgets",
        "part": f"part{part}",
        "slice": "matt",
        "split": split,
    } | {
        "label": label,
        "labelled_at": labelled_at,
        "source": "s",
        "source_path": f"{image}",
        "synthetic": False,
        "size_bytes": 1,
    }


def table(*rows: dict[str, Any]) -> pa.Table:
    return annotation_table.from_rows(list(rows))


NOTHING = table()
row_of = st.tuples(
    st.integers(0, 11), st.integers(0, 7), st.sampled_from([*ORDER, None]), st.sampled_from(["good", "defect"])
)
side = st.lists(row_of, max_size=10, unique_by=lambda values: values[0]).map(
    lambda found: table(*(row(*values) for values in found))
)


@settings(max_examples=150, deadline=None)
@given(side, side, side, st.lists(side, max_size=3))
def test_no_join_moves_a_part_towards_the_test_split(
    mine: pa.Table, theirs: pa.Table, common: pa.Table, taken: list
) -> None:
    earlier = Earlier(enumerate(taken, 1))
    joined = join(mine, theirs, common, earlier)
    assert joined.table.sort_by("image").equals(join(theirs, mine, common, earlier).table.sort_by("image"))
    split_of: dict[str, set] = {}
    for one in joined.table.to_pylist():
        split_of.setdefault(one["part"], set()).add(one["split"])
    assert all(len(splits) == 1 for splits in split_of.values())
    for before in (mine, theirs, *taken):
        for one in before.to_pylist():
            for after in joined.table.to_pylist():
                if one["split"] is not None and (one["image"] == after["image"] or one["part"] == after["part"]):
                    assert ORDER.index(after["split"]) <= ORDER.index(one["split"])
    assert not list(misused(joined.table, earlier))
    assert join(joined.table, theirs, common, earlier).table.equals(joined.table)  # killed and done again


def test_a_side_s_correction_counts_and_what_a_side_removed_stays_removed() -> None:
    common = table(row(1, 1, "train"), row(2, 2, "test"), row(3, 3, "test"))
    mine = table(row(1, 1, "train", "defect"), row(2, 2, "test"), row(4, 4, "train"))
    theirs = table(row(1, 1, "train"), row(3, 3, "test", "defect"), row(5, 5, "test"))
    joined = join(mine, theirs, common, Earlier())
    said = {one["image"]: one["label"] for one in joined.table.to_pylist()}
    assert said == {"image1": "defect", "image4": "good", "image5": "good"}
    assert (joined.added, joined.moved, joined.both_changed) == (1, (), ())


def test_of_two_corrections_the_later_one_counts_and_is_told() -> None:
    common = table(row(1, 1, "train"))
    mine = table(row(1, 1, "train", "defect", "2026-03-02"))
    theirs = table(row(1, 1, "train", "good", "2026-03-01"))
    joined = join(mine, theirs, common, Earlier())
    assert joined.table["label"].to_pylist() == ["defect"]
    assert joined.both_changed == ("s/1",)


def splits(place: Workspace) -> dict[str, str]:
    found = annotation_table.load(place.annotations)
    return dict(zip(found["part"].to_pylist(), found["split"].to_pylist(), strict=True))


def with_split(place: Workspace, part: str, split: str) -> None:
    rows = annotation_table.load(place.annotations).to_pylist()
    changed = [one | {"split": split} if one["part"] == part else one for one in rows]
    annotation_table.save(annotation_table.from_rows(changed), place.annotations)


def commit_data(place: Workspace) -> None:
    dataset_versions.add_data(place.root)
    git.commit(place.root, ["data.dvc"], "Data")


def apart(place: Workspace, folder: Path) -> tuple[str, str]:
    """Both branches add parts, and the other one says two parts of the common ones are for testing. Returns these."""
    there = splits(place)
    ours = git.current_branch(place.root)
    learned = next(part for part, split in there.items() if split == "train")
    checked = next(part for part, split in there.items() if split == "validation")
    git.run(place.root, "checkout", "--quiet", "-b", "theirs")
    ingest.ingest(place, str(write_parts(folder / "theirs", 6, first=700)), slice="matt")
    with_split(place, learned, "test")
    with_split(place, checked, "test")
    commit_data(place)
    git.run(place.root, "checkout", "--quiet", ours)
    dataset_versions.checkout_data(place.root)
    ingest.ingest(place, str(write_parts(folder / "ours", 6, first=800)), slice="matt")
    commit_data(place)
    return learned, checked


@pytest.mark.parametrize("begun", ["not", "by git merge"])
def test_a_person_merges_what_both_sides_added(snapped: Workspace, tmp_path: Path, begun: str) -> None:
    before = splits(snapped)
    learned, checked = apart(snapped, tmp_path)
    if begun == "by git merge":
        git.run(snapped.root, "merge", "theirs", check=False)
        assert "data.dvc" in git.run(snapped.root, "diff", "--name-only", "--diff-filter=U")
    done = merge.merge(snapped, "theirs")
    after = splits(snapped)
    assert done.added == 6
    assert len(after) == 60 + 6 + 6
    assert {part: after[part] for part in before} == before
    assert (after[learned], after[checked]) == ("train", "validation")
    assert git.run(snapped.root, "status", "--porcelain", "--untracked-files=no") == ""
    assert git.is_ancestor(snapped.root, "theirs", "HEAD")
    validate.validate(snapped)
    assert snapshot.snapshot(snapped).n_images == 72


def test_a_merge_that_was_killed_goes_on(snapped: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart(snapped, tmp_path)
    for broken in ("take_files", "add_data"):  # before the files of the other side are here, and after
        with monkeypatch.context() as patched:
            if broken == "add_data":
                assert (snapped.root / ".git" / "MERGE_HEAD").exists()
            patched.setattr(merge.dataset_versions, broken, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                merge.merge(snapped, "theirs")
    merge.merge(snapped, "theirs")
    assert len(splits(snapped)) == 72
    validate.validate(snapped)


def test_what_no_commit_holds_is_not_merged_over(snapped: Workspace, tmp_path: Path) -> None:
    apart(snapped, tmp_path)
    ingest.ingest(snapped, str(write_parts(tmp_path / "more", 3, first=900)), slice="matt")
    with pytest.raises(Refused, match="not committed"):
        merge.merge(snapped, "theirs")
    assert len(splits(snapped)) == 60 + 6 + 3
    with pytest.raises(BadInput, match="no branch or tag nobody"):
        merge.merge(snapped, "nobody")


def test_other_conflicts_are_left_to_the_person(snapped: Workspace, tmp_path: Path) -> None:
    apart(snapped, tmp_path)
    params = snapped.root / "params.yaml"
    for branch, epochs in (("theirs", "epochs: 5"), ("-", "epochs: 6")):
        git.run(snapped.root, "checkout", "--quiet", branch)
        params.write_text(params.read_text().replace("epochs: 8", epochs))
        git.commit(snapped.root, ["params.yaml"], epochs)
    dataset_versions.checkout_data(snapped.root)
    with pytest.raises(Refused, match=r"params\.yaml"):
        merge.merge(snapped, "theirs")
    git.run(snapped.root, "checkout", "--ours", "--", "params.yaml")
    git.run(snapped.root, "add", "params.yaml")
    merge.merge(snapped, "theirs")
    assert len(splits(snapped)) == 72
    assert "epochs: 6" in params.read_text()


def test_a_part_that_a_snapshot_learned_from_can_not_be_tested_on(snapped: Workspace) -> None:
    learned = next(part for part, split in splits(snapped).items() if split == "train")
    with_split(snapped, learned, "test")
    with pytest.raises(
        BadData, match=r"1 part moved towards the test split.*train in data/widgets/1, now test"
    ) as refused:
        validate.validate(snapped)
    assert "defectloop snapshots merge data/widgets/1" in refused.value.next_step
    with pytest.raises(NotReady):
        snapshot.snapshot(snapped)
    done = merge.merge(snapped, "data/widgets/1")
    assert [(one.part, one.before, one.after) for one in done.moved] == [(learned, "test", "train")]
    validate.validate(snapped)


def test_removed_and_delivered_again_it_is_still_known(snapped: Workspace, tmp_path: Path) -> None:
    """The snapshot before the last one counts too."""
    rows = annotation_table.load(snapped.annotations).to_pylist()
    gone = next(one for one in rows if one["split"] == "train" and one["label"] == "good")
    annotation_table.save(annotation_table.from_rows([one for one in rows if one is not gone]), snapped.annotations)
    validate.validate(snapped)
    snapshot.snapshot(snapped)
    annotation_table.save(annotation_table.from_rows([*rows[1:], rows[0]]), snapped.annotations)
    with_split(snapped, gone["part"], "test")
    ingest.ingest(snapped, str(tmp_path / "stock"), slice="matt")  # brings the file back, which validate had dropped
    with pytest.raises(BadData):
        validate.validate(snapped)
