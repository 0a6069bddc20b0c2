"""Finds near duplicates in different splits, with different labels, or assigned to different parts. Pure."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from models.evaluation import twins
from models.evaluation.twins import Twins
from models.images import part_grouping
from models.images.near_duplicates import SIMILAR, Pair
from models.images.part_grouping import Tones
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

ACROSS_SPLITS = "look-alikes-across-splits"
STATE_PARTS = "State the part of each image (--part-from, or a manifest's column part) and ingest again, or drop some."
SAME_IMAGE = 0.97  # correlation above which different labels are a contradiction rather than a change of the part


def findings(frame: pd.DataFrame, pairs: list[Pair], tones: Tones) -> list[Finding]:
    """`pairs` are indices into `frame`, most similar first, including faint ones. `frame` has image, part, split, truth and
    synthetic."""
    part, split, truth, image = (frame[name].to_numpy() for name in ("part", "split", "truth", "image"))
    contradicting: list[Case] = []
    apart: list[Case] = []
    together: list[Case] = []
    straddling = [
        pair
        for pair in pairs
        if pair.similarity >= SIMILAR and split[pair.first] and split[pair.second]
        if split[pair.first] != split[pair.second]
    ]
    sure = part_grouping.same_photographs(pairs, set(straddling), tones)
    across = {
        pair: _captioned(
            Case((image[pair.first], image[pair.second]), caption(pair)),
            f"{split[pair.first]} and {split[pair.second]}",
        )
        for pair in straddling
    }
    grouping = part_grouping.group(pairs, len(frame), tones)
    doubted = [pair for pair in grouping.doubted if part[pair.first] != part[pair.second] and pair not in across]
    doubtful = [Case((image[pair.first], image[pair.second]), caption(pair)) for pair in doubted]
    for pair in grouping.believed:
        a, b = pair.first, pair.second
        case = Case((image[a], image[b]), caption(pair))
        if truth[a] and truth[b] and truth[a] != truth[b] and pair.similarity >= SAME_IMAGE:
            contradicting.append(_captioned(case, f"{truth[a]} and {truth[b]}"))
        (together if part[a] == part[b] else apart).append(case)
    result = _across_splits(
        [case for pair, case in across.items() if pair in sure],
        [case for pair, case in across.items() if pair not in sure],
    )
    if contradicting:
        result.append(
            finding(
                "same-image-different-labels",
                Severity.WARNING,
                f"{counted(len(contradicting), 'pair', 'pairs')} of near-identical images with different labels",
                "Either a label is wrong, or the defect is too small to be visible in the comparison.",
                "Check the labels, and ingest the corrected delivery again.",
                contradicting,
            )
        )
    if apart:
        result.append(
            finding(
                "near-duplicates",
                Severity.WARNING,
                f"{counted(len(apart), 'pair', 'pairs')} of near duplicates assigned to different parts",
                "Re-encoded, re-exposed, rotated or mirrored copies count twice in every metric. Different parts of one "
                "design can also look like this.",
                "Look at them. If they show one part, state it: --part-from, or the column part of a manifest.",
                apart,
            )
        )
    if doubtful:
        result.append(
            finding(
                "look-alike-parts",
                Severity.NOTE,
                f"{counted(len(doubtful), 'pair', 'pairs')} of images look alike, as many parts of this product do",
                "Such a pair may show one part twice, or two parts that look alike. They were not grouped.",
                "If parts were photographed several times, state them: ingest.part_from, or a manifest's column part.",
                doubtful,
            )
        )
    if together:
        members = frame["part"].value_counts()
        several = members[members > 1]
        result.append(
            finding(
                "repeated-parts",
                Severity.NOTE,
                f"{int(several.sum())} images show {counted(len(several), 'part', 'parts')} several times",
                f"The largest group has {int(members.max())} images. Each group stays in one split.",
                "",
                together,
                int(several.sum()),
            )
        )
    return result


def judged(found: Finding, measured: Twins | None) -> Finding:
    """Return a finding with the severity that the measured effect of twins justifies. Other findings stay as they are.

    A problem if twins flatter the metrics, a note if they do not, and a warning while nobody knows.
    """
    if found.kind != ACROSS_SPLITS:
        return found
    title = _look_alikes(found.count)
    if measured is None:
        return replace(
            found,
            severity=Severity.WARNING,
            title=f"{title}; not measured yet whether they flatter the metrics",
            explanation="They may show the same part twice, or two parts that look alike. The next evaluation measures the "
            "metrics with and without the test parts that look like a training part.",
            next_step="Measure it: defectloop train",
        )
    if measured.flattering:
        return replace(
            found,
            severity=Severity.PROBLEM,
            title=f"{title} flatter the metrics",
            explanation=twins.in_words(measured),
            next_step=STATE_PARTS,
        )
    known = measured.measured or not measured.overall.n_with_twin
    return replace(
        found,
        severity=Severity.NOTE if known else Severity.WARNING,
        title=f"{title}" + ("; they do not flatter the metrics" if known else "; their effect could not be measured"),
        explanation=twins.in_words(measured),
        next_step="" if known else "Ingest more test parts.",
    )


def _across_splits(sure: list[Case], others: list[Case]) -> list[Finding]:
    result = []
    if sure:
        result.append(
            finding(
                "duplicates-across-splits",
                Severity.PROBLEM,
                f"{counted(len(sure), 'pair', 'pairs')} of copies of one photograph in different splits",
                "The same part is in two splits, so metrics on it are too optimistic.",
                STATE_PARTS,
                sure,
            )
        )
    if others:
        unjudged = finding(ACROSS_SPLITS, Severity.WARNING, _look_alikes(len(others)), "", "", others)
        result.append(judged(unjudged, None))
    return result


def _look_alikes(n: int) -> str:
    return f"{counted(n, 'pair', 'pairs')} of look-alike images in different splits"


def caption(pair: Pair) -> str:
    turns, mirrored = pair.transform
    ways = [f"rotated by {turns * 90}°"] * bool(turns) + ["mirrored"] * mirrored
    return f"similarity {pair.similarity:.2f}" + (f", {' and '.join(ways)}" if ways else "")


def _captioned(case: Case, what: str) -> Case:
    return Case(case.images, f"{what}: {case.caption}")
