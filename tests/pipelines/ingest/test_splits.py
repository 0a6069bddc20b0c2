from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.dataset import annotation_table
from models.params import SplitShares
from pipelines.ingest import parts
from pipelines.ingest.splits import assign
from tests.models.images.test_part_grouping import series, unlike_tones

WANTED = {"train": 0.6, "validation": 0.15, "test": 0.25}
SHARES = SplitShares(**WANTED)


@given(st.integers(1, 400))
def test_shares_hold_within_one_part_in_every_stratum(n: int) -> None:
    counts = Counter(assign(((f"part{i}", ("matt", "good")) for i in range(n)), SHARES).values())
    assert shares_hold(counts)


def test_assignment_depends_on_names_not_on_their_order() -> None:
    parts = [(f"part{i}", ("matt", "good")) for i in range(50)]
    assert assign(parts, SHARES) == assign(reversed(parts), SHARES)


def test_a_slice_with_enough_test_parts_shares_the_rest_among_training_and_validation() -> None:
    existing = {("gloss", "good"): Counter(test=400)}
    counts = Counter(assign(((f"p{i}", ("gloss", "good")) for i in range(100)), SHARES, existing).values())
    assert counts["test"] == 0
    assert counts["train"] == 80
    assert counts["validation"] == 20


def rows(prefix: str, n: int, *, label: str = "good", slice: str = "matt", **more: Any) -> list[dict[str, Any]]:
    """`n` images of as many parts, as `ingest` describes them before they have a split."""
    return [
        {"image": f"{prefix}{number}", "file": "", "line": "widgets", "part": f"{prefix}{number}", "slice": slice}
        | {"label": label, "source": prefix, "source_path": f"{number}", "synthetic": False, "size_bytes": 1}
        | {"split_stated": False}
        | more
        for number in range(n)
    ]


def delivered(known: pa.Table, new: list[dict[str, Any]]) -> pa.Table:
    table = annotation_table.from_rows(new)
    splits = parts.split(table, known, SHARES)
    settled = [row | {"split": split} for row, split in zip(new, splits, strict=True)]
    return pa.concat_tables([known, annotation_table.from_rows(settled)])


def counted(table: pa.Table, prefix: str = "", label: str = "good", slice: str = "matt") -> Counter[str]:
    """Parts by split."""
    split_of = {
        row["part"]: row["split"]
        for row in table.to_pylist()
        if row["part"].startswith(prefix) and (row["label"], row["slice"]) == (label, slice)
    }
    return Counter(split_of.values())


def shares_hold(counts: Counter[str]) -> bool:
    n = sum(counts.values())
    return all(abs(counts[name] - share * n) <= 1.5 for name, share in WANTED.items())


STATED = {"split": "train", "split_stated": True}
APART = {
    "synthetic": STATED | {"synthetic": True},
    "sought out for training": STATED,
    "an official training split": STATED,
    "an official test split": {"split": "test", "split_stated": True},
}


@pytest.mark.parametrize("kind", APART)
def test_parts_that_came_with_their_split_take_no_other_part_s_place(kind: str) -> None:
    table = delivered(annotation_table.empty(), rows("first", 40, label="defect"))
    table = delivered(table, rows("apart", 60, label="defect", **APART[kind]))
    table = delivered(table, rows("new", 40, label="defect"))
    assert shares_hold(counted(table, "new", "defect"))
    assert set(counted(table, "apart", "defect")) == {APART[kind]["split"]}


delivery = st.tuples(
    st.integers(1, 40), st.sampled_from(["good", "defect"]), st.sampled_from(["matt", "gloss"]), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(delivery, min_size=1, max_size=8))
def test_shares_hold_in_every_slice_and_label_after_any_sequence_of_deliveries(deliveries: list) -> None:
    table = annotation_table.empty()
    for number, (n, label, slice, synthetic) in enumerate(deliveries):
        more = APART["synthetic"] if synthetic else {}
        prefix = f"{'made' if synthetic else 'real'}-{number}-"
        table = delivered(table, rows(prefix, n, label=label, slice=slice, **more))
    for label in ("good", "defect"):
        for slice in ("matt", "gloss"):
            assert shares_hold(counted(table, "real", label, slice))
    assert set(counted(table, "made").keys()) <= {"train"}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_no_split_starves_whatever_the_order_of_equal_deliveries(order: list[int]) -> None:
    table = annotation_table.empty()
    for number in order:
        table = delivered(table, rows(f"delivery{number}-", 10))
        assert shares_hold(counted(table))
        assert set(counted(table, f"delivery{number}-")) == set(WANTED)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from(["good", "defect", None]), st.sampled_from([None, "train", "test"])
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_no_part_straddles_a_split(images: list, first: int) -> None:
    """Images of few parts, with labels and stated splits that contradict each other, in two deliveries."""
    told = [
        rows(f"image{number}-", 1, part=f"part{part}", label=label, split=split, split_stated=split is not None)[0]
        for number, (part, label, split) in enumerate(images)
    ]
    table = delivered(delivered(annotation_table.empty(), told[:first]), told[first:])
    split_of: dict[str, set] = {}
    for row in table.to_pylist():
        if row["split"] is not None:  # a part without a label waits
            split_of.setdefault(row["part"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in split_of.values())


def test_a_part_stated_to_be_in_two_splits_is_learned_from_and_not_tested_on() -> None:
    both = rows("a", 1, part="p", split="test", split_stated=True) + rows("b", 1, part="p", **STATED)
    assert counted(delivered(annotation_table.empty(), both)) == {"train": 1}
    assert counted(delivered(annotation_table.empty(), both[::-1])) == {"train": 1}


def test_pictures_of_many_look_alike_parts_stay_parts_of_their_own_and_are_counted() -> None:
    prints, tones = series("casting, new noise, small pose", 120)
    new, nothing = annotation_table.from_rows(rows("image", len(prints))), annotation_table.empty()
    grouped = parts.grouped(new, [True] * len(prints), prints, nothing, np.zeros((0, 32, 32), np.int8), tones)
    assert grouped.alike > 60
    assert len(set(grouped.parts)) == len(prints)


def test_a_copy_joins_the_part_of_its_original_and_a_stated_part_never_moves() -> None:
    random = np.random.default_rng(0)
    prints = np.clip(ndimage.gaussian_filter(random.standard_normal((60, 32, 32)), (0, 1, 1)) * 90, -127, 127).astype(
        np.int8
    )
    known = annotation_table.from_rows(rows("known", len(prints)))
    new = annotation_table.from_rows(rows("new", 2))
    copies = np.stack([prints[7], prints[8]])
    grouped = parts.grouped(new, [True, False], copies, known, prints, unlike_tones)
    assert grouped.parts == [known["part"][7].as_py(), new["part"][1].as_py()]
    assert (grouped.joined, grouped.largest, grouped.alike) == (1, 2, 0)
