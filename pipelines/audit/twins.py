"""Near duplicates of a workspace's images, and the test parts that have one in the training split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.evaluation.twins import Twins
from models.files import read_json
from models.images import near_duplicates, part_grouping
from models.images.near_duplicates import SIMILAR, Pair
from models.vocabulary import Split
from pipelines import progress
from pipelines.image_files import fingerprints
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class TwinParts:
    """Test parts with a near duplicate in training, and those of them whose twin surely is the same photograph."""

    all: frozenset[str]
    sure: frozenset[str]


def pairs(workspace: Workspace, rows: Sequence[dict[str, Any]]) -> list[Pair]:
    """Return near duplicates, also faint ones, most similar first. `rows` are readable photographs, with image and file."""
    with progress.bar("fingerprints", len(rows)) as show:
        prints = fingerprints.of(workspace, rows, show)
    return near_duplicates.find(prints, least=near_duplicates.FAINT)


def of_test_parts(workspace: Workspace, rows: Sequence[dict[str, Any]]) -> TwinParts:
    """Return the test parts of the annotation table's `rows` that have a twin in the training split."""
    rows = [row for row in rows if not row["synthetic"] and row["decode_error"] is None]
    if not {Split.TEST, Split.TRAIN} <= {row["split"] for row in rows}:
        return TwinParts(frozenset(), frozenset())
    found = pairs(workspace, rows)
    part_of = {
        pair: next(rows[place]["part"] for place in (pair.first, pair.second) if rows[place]["split"] == Split.TEST)
        for pair in found
        if pair.similarity >= SIMILAR
        and {rows[pair.first]["split"], rows[pair.second]["split"]} == {Split.TEST, Split.TRAIN}
    }
    tones = fingerprints.tones(workspace, [row["file"] for row in rows])
    sure = part_grouping.same_photographs(found, part_of, tones)
    return TwinParts(frozenset(part_of.values()), frozenset(part_of[pair] for pair in sure))


def measured(workspace: Workspace) -> Twins | None:
    """Return the effect of twins that the last evaluation measured; None if it used other annotations, or is older."""
    path = workspace.artifacts / "evaluate" / "evaluation.json"
    if not path.exists() or not workspace.annotations.exists():
        return None
    kept = read_json(path, next_step="Make it again: defectloop evaluate").get("twins")
    sha256 = hashlib.sha256(workspace.annotations.read_bytes()).hexdigest()
    return Twins.from_dict(kept) if kept and kept["annotations_sha256"] == sha256 else None
