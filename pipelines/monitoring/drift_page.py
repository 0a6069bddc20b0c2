"""The report of a drift check: the finding, the descriptors in plain words, and typical beside most shifted parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.dataset import annotation_table
from models.errors import DefectloopError
from models.files import write_whole
from models.images import codec
from models.params import Monitor
from pipelines.image_files import deleted_images, image_store
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Inspection
from pipelines.monitoring.descriptor_names import in_words
from pipelines.monitoring.drift_windows import WindowPart
from pipelines.monitoring.standardised import NOT_DESCRIPTORS
from pipelines.pages import index, page
from pipelines.pages.page import Header
from pipelines.pages.pictures import data_uri
from pipelines.workspace import Workspace

SHOWN = 8  # parts of each kind
LARGEST = 20.0  # a distance beyond which a descriptor counts no more


def write(
    workspace: Workspace,
    ledger: Ledger,
    check: DriftCheck,
    window: Sequence[Inspection],
    parts: Sequence[WindowPart],
    accepted_on: Mapping[str, Sequence],
    rules: Monitor,
    out: Path,
) -> None:
    """Write the report to `out`. `accepted_on` is the champion's whole reference, with the part's name where it is known."""
    since, until = (f"{one.inspected_at:%Y-%m-%d %H:%M}" for one in (window[0], window[-1]))
    slices = Counter(part.slice or "no slice stated" for part in parts)
    shifted = sorted(parts, key=lambda part: -distance(part.descriptors, check))[:SHOWN]
    deleted = deleted_images.gone(ledger, image_store.open_store(workspace.store_url), [one.image for one in shifted])
    html = page.render(
        "pipelines.monitoring",
        "drift.html",
        Header(
            check.line,
            "Drift check",
            facts=[
                ("version", check.model_version),
                ("slices in the window", ", ".join(f"{name}: {n} parts" for name, n in slices.most_common())),
                (
                    "window",
                    f"{check.n} parts, {since} to {until} UTC",
                ),
                (
                    "reference",
                    f"{check.n_reference} validation parts on which version {check.model_version} was accepted",
                ),
                ("checked", f"{check.checked_at:%Y-%m-%d %H:%M} UTC"),
                ("promise", f"{rules.false_alarms_per_month:g} false alarms a month on a line that has not changed"),
                ("evidence", f"{(check.numbers or {}).get('evidence', 0):.2g} times the limit of an alarm"),
                *([("since", f"{check.since:%Y-%m-%d %H:%M} UTC")] if check.since else []),
                *([("likely cause", check.cause)] if check.cause else []),
            ],
            links=index.links(workspace, out),
        ),
        check=check,
        rows=[
            (in_words(name), check.columns[name])
            for name in sorted(check.columns, key=lambda name: -abs(check.columns[name]["shift"]))
        ],
        typical=_typical(workspace, check, accepted_on),
        shifted=_pictures(
            [(part.name, part.slice, part.descriptors, part.image) for part in shifted], _stored(workspace), check
        ),
        deleted=sum(part.image in deleted for part in shifted),
        n_window=check.n,
        n_reference=check.n_reference,
        detail=index.relative(index.detail_of(out), out),
    )
    write_whole(out, html.encode())


def distance(descriptors: Mapping[str, float], check: DriftCheck) -> float:
    """Return how far a part lies from the reference: the mean distance over the shifted descriptors, in units of the
    reference's spread; over all descriptors if none has shifted."""
    chosen = [name for name in check.columns if check.columns[name]["drifted"]] or list(check.columns)
    steps = [
        abs(descriptors[name] - check.columns[name]["reference"]) / _spread(check.columns[name]) for name in chosen
    ]
    return float(np.mean(np.minimum(steps, LARGEST))) if steps else 0.0


def _spread(column: Mapping[str, float]) -> float:
    """Return the reference's spread, from the shift that was measured in units of it."""
    change = abs(column["current"] - column["reference"])
    return max(change / abs(column["shift"]), 1e-9) if column["shift"] else max(change, 1e-9)


def _typical(workspace: Workspace, check: DriftCheck, accepted_on: Mapping[str, Sequence]) -> list[dict[str, object]]:
    """Return pictures of the reference parts nearest to its medians. Parts without a file here are left out."""
    if "part" not in accepted_on:  # a reference of an older version
        return []
    names = [name for name in accepted_on if name not in NOT_DESCRIPTORS]
    file_of = {row["part"]: row["file"] for row in annotation_table.load(workspace.annotations).to_pylist()}
    rows = [
        (str(part), accepted_on["slice"][at], {name: accepted_on[name][at] for name in names}, file_of[part])
        for at, part in enumerate(accepted_on["part"])
        if part in file_of and (workspace.data / file_of[part]).exists()
    ]
    rows.sort(key=lambda row: distance(row[2], check))
    return _pictures(rows[:SHOWN], lambda file: (workspace.data / file).read_bytes(), check)


def _stored(workspace: Workspace) -> Callable[[str], bytes]:
    return image_store.open_store(workspace.store_url).get


def _pictures(
    rows: Sequence[tuple[str, str | None, Mapping[str, float], str]], read: Callable[[str], bytes], check: DriftCheck
) -> list[dict[str, object]]:
    shown = []
    for part, slice, descriptors, image in rows:
        try:
            picture = data_uri(codec.decode(read(image)))
        except DefectloopError:  # the store no longer has the image: the numbers remain
            continue
        shown.append(
            {
                "part": part,
                "slice": slice or "",
                "score": descriptors["score"],
                "distance": distance(descriptors, check),
                "picture": picture,
            }
        )
    return shown
