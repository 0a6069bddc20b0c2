"""The data card of a snapshot: counts by slice, split and label, labellers, licences, known issues, quarantine. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from models.vocabulary import Label, Split
from pipelines.pages.markdown import inline


def render(line: str, table: pa.Table, refused: Sequence[str], issues: Sequence[str] = ()) -> str:
    """Return the data card as Markdown. The same rows give the same text.

    `refused` are the reasons of the quarantined images, `issues` the findings of the audit. Values are counted by column,
    because rows as dicts would take longer than the rest of the snapshot.
    """
    keys = ["slice", "split", "label"]
    made = table.filter(table["synthetic"])
    table = table.filter(pc.invert(table["synthetic"]))  # synthetic images are counted separately
    parts = table.group_by(keys).aggregate([("part", "count_distinct")]).to_pylist()
    counts = {tuple(row[key] for key in keys): row["part_count_distinct"] for row in parts}
    header = [f"{split} {label}" for split in Split for label in Label]
    by_slice = [
        [name, *(str(counts.get((name, split.value, label.value), 0)) for split in Split for label in Label)]
        for name in sorted(set(table["slice"].to_pylist()))
    ]
    sections = [
        f"# Data card of line {inline(line)}",
        f"{table.num_rows} images of {pc.count_distinct(table['part']).as_py()} parts"
        + (f", and {made.num_rows} synthetic images in the training split" if made.num_rows else "")
        + ". Every snapshot updates this file.",
        "## Parts by slice, split and label",
        _table(["slice", *header], by_slice),
        "## Defect types",
        _counts(_values(pc.list_flatten(table["defect_types"]))),
        "## Labelled by",
        _counts(_values(table["labelled_by"])),
        "## Sources",
        _counts(_values(table["source"])),
        "## Licences",
        _counts(_values(table["licence"])),
        *(["## Synthetic images, only in the training split", _made(made)] if made.num_rows else []),
        "## Known issues",
        "\n".join(f"- {inline(issue)}" for issue in issues) or "None.",
        "## In quarantine (not part of this data)",
        _counts(Counter(reason.split(":")[0].split(" (")[0] for reason in refused)),
    ]
    return "\n\n".join(sections) + "\n"


def _made(made: pa.Table) -> str:
    """Count the drawn and pasted defects. Each row's `labelled_by` states the method and the source images."""
    how = [(origin or "unknown").split(",")[0] for origin in made["labelled_by"].to_pylist()]
    return _counts(Counter(f"{name}: {origin}" for name, origin in zip(made["slice"].to_pylist(), how, strict=True)))


def _values(column: pa.ChunkedArray) -> Counter[str]:
    counted = pc.value_counts(column).to_pylist()
    counts: Counter[str] = Counter()
    for row in counted:
        counts[row["values"] or "unknown"] += row["counts"]
    return counts


def _counts(counts: Counter[str]) -> str:
    if not counts:
        return "None."
    return _table(
        ["", "images"], [[name, str(n)] for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([inline(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
