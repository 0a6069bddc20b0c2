"""Near duplicates: pairs that straddle a split, that carry different labels, or that are taken for different parts. Pure."""

from __future__ import annotations

import pandas as pd

from models.images import part_grouping
from models.images.near_duplicates import Pair
from models.images.part_grouping import Tones
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

SAME_IMAGE = 0.97  # correlation from which two labels for one image are a contradiction, not a change of the part


def findings(frame: pd.DataFrame, pairs: list[Pair], tones: Tones) -> list[Finding]:
    """`pairs` by place in `frame`, faint ones too, most alike first; `frame` has image, part, split, truth, synthetic."""
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
            straddling.append(_told(case, f"{split[a]} and {split[b]}"))
        if truth[a] and truth[b] and truth[a] != truth[b] and pair.similarity >= SAME_IMAGE:
            contradicting.append(_told(case, f"{truth[a]} and {truth[b]}"))
        (together if part[a] == part[b] else apart).append(case)
    result = []
    if straddling:
        result.append(
            finding(
                "duplicates-across-splits",
                Severity.PROBLEM,
                f"{counted(len(straddling), 'pair', 'pairs')} of near duplicates in different splits",
                "What was learned is tested again: the measured numbers are better than production will be.",
                "Say which images show one part (--part-from, a manifest's column part) and ingest anew, or drop some.",
                straddling,
            )
        )
    if contradicting:
        result.append(
            finding(
                "same-image-different-labels",
                Severity.WARNING,
                f"{counted(len(contradicting), 'pair', 'pairs')} of like images with different labels",
                "Either a label is wrong, or the defect is too small to tell them apart.",
                "Decide which, and ingest the corrected delivery again.",
                contradicting,
            )
        )
    if apart:
        result.append(
            finding(
                "near-duplicates",
                Severity.WARNING,
                f"{counted(len(apart), 'pair', 'pairs')} of near duplicates taken for different parts",
                "Re-encoded, re-exposed, turned or mirrored copies count twice in every number. Sister parts look so too.",
                "Look at them; where they show one part, say so (--part-from, or a manifest's column part).",
                apart,
            )
        )
    if doubtful:
        result.append(
            finding(
                "look-alike-parts",
                Severity.NOTE,
                f"{counted(len(doubtful), 'pair', 'pairs')} of images look alike, and so do many parts of this product",
                "Such a pair may show one part twice, or two parts that look alike. They are not grouped.",
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
                f"The part with the most has {int(members.max())} images. They stay in one split together.",
                "",
                together,
                int(several.sum()),
            )
        )
    return result


def caption(pair: Pair) -> str:
    turns, mirrored = pair.transform
    ways = [f"turned {turns * 90}°"] * bool(turns) + ["mirrored"] * mirrored
    return f"{pair.similarity:.2f} alike" + (f", {' and '.join(ways)}" if ways else "")


def _told(case: Case, what: str) -> Case:
    return Case(case.images, f"{what}: {case.caption}")
