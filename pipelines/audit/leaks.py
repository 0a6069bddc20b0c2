"""Finds label leaks: properties other than the part that predict its label, such as file format or exposure. Pure.

A detector learns such shortcuts first, and fails when production lacks them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from pipelines.audit.finding import Case, Finding, Severity, finding

MIN_IMAGES = 10
PURE = 0.9  # share of one class among the images with one value
LIFT = 1.5  # how many times more common the class is among them than in all images
SEPARATES = 0.9  # AUROC of one number for one class against the rest
SIGNIFICANT = 1e-6  # over all tested values
# Properties of the file cannot be caused by the part; properties of the picture can.
FILE_FACTS = {
    "format": "file format", "compression": "compression", "size_px": "image size", "channels": "number of channels",
    "bit_depth": "bit depth", "folder": "folder", "source": "delivery", "camera": "camera", "exposure": "exposure in EXIF",
}  # fmt: skip
PICTURE_FACTS = {"size_bytes": "file size", "brightness": "brightness", "noise": "noise", "sharpness": "sharpness"}


def findings(frame: pd.DataFrame) -> list[Finding]:
    """`frame` has the columns named above if they are known, and `truth`: the defect type, or the label."""
    labelled = frame[frame["truth"].notna() & ~frame["synthetic"]]
    if labelled["truth"].nunique() < 2:
        return []
    results = []
    reported: list[
        frozenset[str]
    ] = []  # the same images need no second finding, for example PNG by format and by compression
    for column, name in FILE_FACTS.items():
        if column in labelled:
            telling = [
                (text, members)
                for text, members in _telling_values(labelled, column)
                if frozenset(labelled.loc[members, "image"]) not in reported
            ]
            reported += [frozenset(labelled.loc[members, "image"]) for _, members in telling]
            if telling:
                results.append(_leak(f"{name} predicts the label", column, Severity.WARNING, telling, labelled))
    for column, name in PICTURE_FACTS.items():
        telling = list(_separated_classes(labelled, column))
        if telling:
            results.append(_leak(f"{name} alone separates a class", column, Severity.NOTE, telling, labelled))
    return results


def _telling_values(labelled: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.Series]]:
    """Yield values whose images are nearly all of one class, although that class is not the most common one."""
    values = labelled[column].fillna("unknown").astype(str)
    if values.nunique() < 2 or values.nunique() > len(values) / 2:
        return
    base = labelled["truth"].value_counts()
    if column == "folder" and _names_the_classes(values, labelled["truth"]):
        return  # the folders are the classes, from which the labels were read
    tried = values.nunique() * len(base)
    for value, members in labelled.groupby(values)["truth"]:
        truth, n = members.mode()[0], len(members)
        hits = int((members == truth).sum())
        overall = base[truth] / len(labelled)
        chance = stats.hypergeom.sf(hits - 1, len(labelled), int(base[truth]), n) * tried
        if n >= MIN_IMAGES and hits / n >= PURE and hits / n >= LIFT * overall and chance < SIGNIFICANT:
            of_class = hits / base[truth]
            text = f"{value}: {hits} of {n} images are {truth} ({of_class:.0%} of that class); overall {overall:.0%}"
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
            yield f"{name}: {side} than in other classes (AUROC {max(area, 1 - area):.2f})", (labelled["truth"] == name)


def _leak(
    title: str, column: str, severity: Severity, telling: list[tuple[str, pd.Series]], labelled: pd.DataFrame
) -> Finding:
    cases = []
    for text, members in telling:
        images = labelled.loc[members, "image"].to_numpy()
        cases.append(Case(tuple(images[np.linspace(0, len(images) - 1, 4).astype(int)]), text))
    why = (
        "A detector can learn it instead of the defect, and will fail in production."
        if severity is Severity.WARNING
        else "The defect itself may cause it. If it comes from how the images were taken, the detector learns that instead."
    )
    remedy = (
        "Deliver all classes in the same way (format, camera settings, folder), or mix the values in every class."
        if severity is Severity.WARNING
        else "Compare some images of both groups."
    )
    return finding(f"leak-{column.replace('_', '-')}", severity, title[0].upper() + title[1:], why, remedy, cases)
