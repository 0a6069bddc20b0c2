"""Finds images that differ from the others of their slice in size, bit depth or appearance. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.images.typical_range import RANGED, distances
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

RARE = 0.05  # share below which a value is reported
FAR = 3.0  # times the distance from the slice's median to the outermost 5 % of images on that side


def findings(frame: pd.DataFrame) -> list[Finding]:
    results = []
    for column, name in (("size_px", "size"), ("bit_depth", "bit depth"), ("channels", "number of channels")):
        odd = _rare(frame, column)
        if odd:
            results.append(
                finding(
                    f"odd-{column.replace('_', '-')}",
                    Severity.WARNING,
                    f"{counted(len(odd), 'image has', 'images have')} a different {name} from the rest of their slice",
                    f"The typical {name} is {', '.join(map(str, _most_common(frame, column)))}.",
                    "Check for cropped images, another camera or screenshots. Drop them, or ingest them as another slice.",
                    odd,
                )
            )
    looks = _far(frame)
    if looks:
        results.append(
            finding(
                "odd-looks",
                Severity.WARNING,
                f"{counted(len(looks), 'image looks', 'images look')} different from the rest of the slice",
                f"{FAR:.0f} times as far from the median as the outermost 5 % of images: dark, overexposed, or not a part.",
                "Look at them, and drop images that do not show a part.",
                looks,
            )
        )
    return results


def _rare(frame: pd.DataFrame, column: str) -> list[Case]:
    """Return images with rare values, if one value is typical. Freely cropped images have no typical size."""
    cases = []
    for _, members in frame.groupby("slice"):
        shares = members[column].value_counts(normalize=True)
        if len(shares) and shares.iloc[0] >= 1 - RARE * 2:
            rare = members[members[column].map(shares) < RARE]
            cases += [Case((image,), str(value)) for image, value in zip(rare["image"], rare[column], strict=True)]
    return cases


def _most_common(frame: pd.DataFrame, column: str) -> list[str]:
    return sorted({str(members[column].mode()[0]) for _, members in frame.groupby("slice") if len(members)})


def _far(frame: pd.DataFrame) -> list[Case]:
    """Return the farthest images first, each with the descriptor in which it is farthest."""
    worst: dict[str, tuple[float, str]] = {}
    for _, members in frame.groupby("slice"):
        for column in RANGED:
            numbers = members[column].to_numpy(dtype=float)
            away = np.abs(distances(column, numbers))
            middle = float(np.nanmedian(numbers)) if not np.isnan(numbers).all() else np.nan
            for place in np.flatnonzero(away > FAR):
                image, distance = members["image"].iloc[place], float(away[place])
                if distance > worst.get(image, (0.0, ""))[0]:
                    worst[image] = (distance, f"{column} {numbers[place]:.3g}, median {middle:.3g}")
    ordered = sorted(worst.items(), key=lambda item: -item[1][0])
    return [Case((image,), text) for image, (_, text) in ordered]
