"""Things that are not the part and yet tell its label: a file format, a compression, a size, a folder, an exposure. Pure.

A detector learns such a thing first, and fails when production does not have it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from pipelines.audit.finding import Case, Finding, Severity, finding

MIN_IMAGES = 10
PURE = 0.9  # share of one class among the images with one value
LIFT = 1.5  # how much more common the class is among them than in all images
SEPARATES = 0.9  # area under the ROC of one number for one class against the rest
SIGNIFICANT = 1e-6  # over everything that is tried
# Facts of the file, which the part can't cause; and facts of the picture, which it can.
FILE_FACTS = {
    "format": "file format", "compression": "compression", "size_px": "image size", "channels": "number of channels",
    "bit_depth": "bit depth", "folder": "folder", "source": "delivery", "camera": "camera", "exposure": "exposure in EXIF",
}  # fmt: skip
PICTURE_FACTS = {"size_bytes": "file size", "brightness": "brightness", "noise": "noise", "sharpness": "sharpness"}


def findings(frame: pd.DataFrame) -> list[Finding]:
    """`frame` has the columns named above where they are known, and `truth`: the defect type, or the label."""
    labelled = frame[frame["truth"].notna() & ~frame["synthetic"]]
    if labelled["truth"].nunique() < 2:
        return []
    results = []
    reported: list[
        frozenset[str]
    ] = []  # one and the same images need no second finding: PNG by format and by compression
    for column, name in FILE_FACTS.items():
        if column in labelled:
            telling = [
                (text, members)
                for text, members in _telling_values(labelled, column)
                if frozenset(labelled.loc[members, "image"]) not in reported
            ]
            reported += [frozenset(labelled.loc[members, "image"]) for _, members in telling]
            if telling:
                results.append(_leak(f"{name} tells the label", column, Severity.WARNING, telling, labelled))
    for column, name in PICTURE_FACTS.items():
        telling = list(_separated_classes(labelled, column))
        if telling:
            results.append(_leak(f"{name} alone separates a class", column, Severity.NOTE, telling, labelled))
    return results


def _telling_values(labelled: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.Series]]:
    """Values whose images are nearly all of one class, though that class is not the usual one."""
    values = labelled[column].fillna("not said").astype(str)
    if values.nunique() < 2 or values.nunique() > len(values) / 2:
        return
    base = labelled["truth"].value_counts()
    if column == "folder" and _names_the_classes(values, labelled["truth"]):
        return  # class folders are how the label was said
    tried = values.nunique() * len(base)
    for value, members in labelled.groupby(values)["truth"]:
        truth, n = members.mode()[0], len(members)
        hits = int((members == truth).sum())
        usual = base[truth] / len(labelled)
        chance = stats.hypergeom.sf(hits - 1, len(labelled), int(base[truth]), n) * tried
        if n >= MIN_IMAGES and hits / n >= PURE and hits / n >= LIFT * usual and chance < SIGNIFICANT:
            of_class = hits / base[truth]
            text = f"{value}: {hits} of {n} images are {truth}, {of_class:.0%} of that class; of all images {usual:.0%} are"
            yield text, values == value


def _names_the_classes(values: pd.Series, truth: pd.Series) -> bool:
    return bool((truth.groupby(values).nunique() == 1).all())


def _separated_classes(labelled: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.Series]]:
    numbers = labelled[column].astype(float)
    usable = numbers.notna()
    ranks = numbers[usable].rank()
    truth = labelled["truth"][usable]
    for name, n in truth.value_counts().items():
        rest = len(truth) - n
        if n < MIN_IMAGES or rest < MIN_IMAGES:
            continue
        area = (ranks[truth == name].sum() - n * (n + 1) / 2) / (n * rest)
        if max(area, 1 - area) >= SEPARATES:
            side = "higher" if area > 0.5 else "lower"
            yield f"{name}: {side} than elsewhere (AUROC {max(area, 1 - area):.2f})", (labelled["truth"] == name)


def _leak(
    title: str, column: str, severity: Severity, telling: list[tuple[str, pd.Series]], labelled: pd.DataFrame
) -> Finding:
    cases = []
    for text, members in telling:
        images = labelled.loc[members, "image"].to_numpy()
        cases.append(Case(tuple(images[np.linspace(0, len(images) - 1, 4).astype(int)]), text))
    why = (
        "A detector can learn it instead of the defect, and production will not have it."
        if severity is Severity.WARNING
        else "It may be the defect itself; if it is how the images were taken, the detector learns that instead."
    )
    remedy = (
        "Deliver all classes in the same way (one format, one camera setting, one folder), or mix both in every class."
        if severity is Severity.WARNING
        else "Look at a few of both kinds."
    )
    return finding(f"leak-{column.replace('_', '-')}", severity, title[0].upper() + title[1:], why, remedy, cases)
