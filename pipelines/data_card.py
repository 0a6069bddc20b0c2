"""What a snapshot holds, for people: counts by slice, split and label, who labelled, licences, what was refused. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from models.vocabulary import Label, Split


def render(line: str, rows: Sequence[dict[str, Any]], refused: Sequence[str], issues: Sequence[str] = ()) -> str:
    """Markdown; the same rows give the same text. `refused` are the reasons of what lies in quarantine.

    `issues` are what the audit found, in words.
    """
    parts = {(row["slice"], row["split"], row["label"], row["part"]) for row in rows}
    counts = Counter((slice, split, label) for slice, split, label, _ in parts)
    header = [f"{split} {label}" for split in Split for label in Label]
    table = [
        [name, *(str(counts[(name, split, label)]) for split in Split for label in Label)]
        for name in sorted({row["slice"] for row in rows})
    ]
    synthetic = sum(bool(row["synthetic"]) for row in rows)
    sections = [
        f"# Data of line {line}",
        f"{len(rows)} images of {len({row['part'] for row in rows})} parts"
        + (f"; {synthetic} are synthetic, all in the training split" if synthetic else "")
        + ". Written by every snapshot.",
        "## Parts by slice, split and label",
        _table(["slice", *header], table),
        "## Defect types",
        _counts(Counter(kind for row in rows for kind in row["defect_types"] or ())),
        "## Who labelled",
        _counts(Counter(row["labelled_by"] or "not said" for row in rows)),
        "## Sources",
        _counts(Counter(row["source"] for row in rows)),
        "## Licences",
        _counts(Counter(row["licence"] or "not said" for row in rows)),
        "## Known issues",
        "\n".join(f"- {issue}" for issue in issues) or "None known.",
        "## In quarantine, not part of this data",
        _counts(Counter(reason.split(":")[0].split(" (")[0] for reason in refused)),
    ]
    return "\n\n".join(sections) + "\n"


def _counts(counts: Counter[str]) -> str:
    if not counts:
        return "None."
    return _table(
        ["", "images"], [[name, str(n)] for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
