"""Finds near duplicates in different splits, with different labels, or assigned to different parts. Pure."""

from __future__ import annotations

import pandas as pd

from models.images import part_grouping
from models.images.near_duplicates import Pair
from models.images.part_grouping import Tones
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

SAME_IMAGE = 0.97  # correlation above which different labels are a contradiction rather than a change of the part


def findings(frame: pd.DataFrame, pairs: list[Pair], tones: Tones) -> list[Finding]:
    """`pairs` are indices into `frame`, most similar first, including faint ones. `frame` has image, part, split, truth and
    synthetic."""
    part, split, truth, image = (frame[name].to_numpy() for name in ("part", "split", "truth", "image"))
    straddling: list[Case] = []
    contradicting: list[Case] = []
    apart: list[Case] = []
    together: list[Case] = []
    grouping = part_grouping.group(pairs, len(frame), tones)
    doubted = [pair for pair in grouping.doubted if part[pair.first] != part[pair.second]]
    doubtful = [Case((image[pair.first], image[pair.second]), caption(pair)) for pair in doubted]
    for pair in grouping.believed:
        a, b = pair.first, pair.second
        case = Case((image[a], image[b]), caption(pair))
        if split[a] and split[b] and split[a] != split[b]:
            straddling.append(_captioned(case, f"{split[a]} and {split[b]}"))
        if truth[a] and truth[b] and truth[a] != truth[b] and pair.similarity >= SAME_IMAGE:
            contradicting.append(_captioned(case, f"{truth[a]} and {truth[b]}"))
        (together if part[a] == part[b] else apart).append(case)
    result = []
    if straddling:
        result.append(
            finding(
                "duplicates-across-splits",
                Severity.PROBLEM,
                f"{counted(len(straddling), 'pair', 'pairs')} of near duplicates in different splits",
                "Training images occur in the test split, so the measured metrics are too optimistic.",
                "State the part of each image (--part-from, or a manifest's column part) and ingest again, or drop some.",
                straddling,
            )
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


def caption(pair: Pair) -> str:
    turns, mirrored = pair.transform
    ways = [f"rotated by {turns * 90}°"] * bool(turns) + ["mirrored"] * mirrored
    return f"similarity {pair.similarity:.2f}" + (f", {' and '.join(ways)}" if ways else "")


def _captioned(case: Case, what: str) -> Case:
    return Case(case.images, f"{what}: {case.caption}")
