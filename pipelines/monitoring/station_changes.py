"""How changes of the station move the descriptors: the detector sees images of the reference as they are and changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from models.detector.runtime import Detector
from models.images import acquisition, codec, descriptors
from pipelines.monitoring.standardised import Scale

PARTS = 16  # images that are changed


def shifts(
    detector: Detector, images: Sequence[tuple[Path, str | None]], scale: Scale, names: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """Return the mean shift on the whitened axes, [d], by change. `images` are files with the slice that they show.

    Empty without images. Files that are missing are left out.
    """
    present = [(path, slice) for path, slice in images if path.is_file()][:PARTS]
    if not present:
        return {}
    pixels = [codec.read(path) for path, _ in present]
    slices = np.array([slice for _, slice in present], dtype=object)
    changes = acquisition.changes(colour=all(image.shape[2] == 3 for image in pixels))

    def axes(seen: Sequence[np.ndarray]) -> np.ndarray:
        answers = [
            descriptors.of_inspection(image, answer)
            for image, answer in zip(seen, detector.predict_many(iter(seen)), strict=True)
        ]
        rows = np.array([[answer[name] for name in names] for answer in answers])
        whitened: np.ndarray = scale.standardise(rows, slices) @ scale.whitening
        return whitened

    unchanged = axes(pixels)
    return {
        name: (axes([np.ascontiguousarray(change(image)) for image in pixels]) - unchanged).mean(axis=0)
        for name, change in changes.items()
    }
