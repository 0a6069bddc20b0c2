"""What any registered version answers about an image, without a record: the line's verdicts are the champion's alone."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import names
from models.detector.runtime import Detector
from models.files import read_file
from models.images import codec
from pipelines.adapters import model_registry
from pipelines.inspection import heatmaps
from pipelines.workspace import Workspace


def load(workspace: Workspace, version: str) -> Detector:
    """Return the verified detector of a version. Raises NotReady for an unknown version."""
    return Detector(
        model_registry.download(workspace, model_registry.version(workspace, workspace.params().line, version))
    )


def inspect_file(detector: Detector, path: Path, version: str, folder: Path) -> dict[str, Any]:
    """Return what `defectloop inspect --version` prints. The heatmap is written to `folder`. Raises BadInput for an image
    that cannot be decoded."""
    data = read_file(path)
    started = time.perf_counter()
    prediction = detector.predict(codec.decode(data))
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    own = f"{names.shown(path.stem)}-{hashlib.sha256(data).hexdigest()[:8]}-v{version}"
    picture = folder / f"{names.for_file(own)}.png"
    heatmaps.write(picture, data, prediction.heatmap)
    return {
        "image": names.shown(str(path)),
        "verdict": detector.verdict(prediction.score).value,
        "score": round(prediction.score, 4),
        "regions": [asdict(region) for region in prediction.regions],
        "heatmap": names.shown(str(picture)),
        "model_version": version,
        "latency_ms": latency_ms,
        "recorded": False,
    }
