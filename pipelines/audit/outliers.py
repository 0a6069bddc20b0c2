"""Images that are unlike the others of their slice: in size, in bit depth, in how they look. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.images.typical_range import RANGED, distances
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

RARE = 0.05  # share below which a value is odd
FAR = 3.0  # times as far from the slice's median as the 5 % of images that are farthest on that side


def findings(frame: pd.DataFrame) -> list[Finding]:
    results = []
    for column, name in (("size_px", "size"), ("bit_depth", "bit depth"), ("channels", "number of channels")):
        odd = _rare(frame, column)
        if odd:
            results.append(
                finding(
                    f"odd-{column.replace('_', '-')}",
                    Severity.WARNING,
                    f"{counted(len(odd), 'image has', 'images have')} another {name} than the rest of their slice",
                    f"The usual {name} is {', '.join(map(str, _usual(frame, column)))}.",
                    "A cropped image, another camera, or a screenshot? Drop them, or give them a slice of their own.",
                    odd,
                )
            )
    looks = _far(frame)
    if looks:
        results.append(
            finding(
                "odd-looks",
                Severity.WARNING,
                f"{counted(len(looks), 'image looks', 'images look')} unlike the rest of the slice",
                f"{FAR:.0f} times as far from the median as the outermost 5 % of images: dark, blown out, or another thing.",
                "Look at them; drop what is no picture of a part.",
                looks,
            )
        )
    return results


def _rare(frame: pd.DataFrame, column: str) -> list[Case]:
    """Only where one value is usual: images that are cropped freely have no odd size."""
    cases = []
    for _, members in frame.groupby("slice"):
        shares = members[column].value_counts(normalize=True)
        if len(shares) and shares.iloc[0] >= 1 - RARE * 2:
            rare = members[members[column].map(shares) < RARE]
            cases += [Case((image,), str(value)) for image, value in zip(rare["image"], rare[column], strict=True)]
    return cases


def _usual(frame: pd.DataFrame, column: str) -> list[str]:
    return sorted({str(members[column].mode()[0]) for _, members in frame.groupby("slice") if len(members)})


def _far(frame: pd.DataFrame) -> list[Case]:
    """Farthest first, each image with the descriptor that it is farthest in."""
    worst: dict[str, tuple[float, str]] = {}
    for _, members in frame.groupby("slice"):
        for column in RANGED:
            numbers = members[column].to_numpy(dtype=float)
            away = np.abs(distances(column, numbers))
            middle = float(np.nanmedian(numbers)) if not np.isnan(numbers).all() else np.nan
            for place in np.flatnonzero(away > FAR):
                image, distance = members["image"].iloc[place], float(away[place])
                if distance > worst.get(image, (0.0, ""))[0]:
                    worst[image] = (distance, f"{column} {numbers[place]:.3g}, usual {middle:.3g}")
    ordered = sorted(worst.items(), key=lambda item: -item[1][0])
    return [Case((image,), text) for image, (_, text) in ordered]
