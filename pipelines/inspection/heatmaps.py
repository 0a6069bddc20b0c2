"""The heatmap of an inspection as a picture file: the image with the heatmap over it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from models import names
from models.detector.runtime import Detector
from models.files import write_whole
from models.images import codec
from pipelines.ledger.tables import Inspection
from pipelines.workspace import Workspace


def default_folder(workspace: Workspace) -> Path:
    return workspace.state / "heatmaps"


def path_of(folder: Path, record: Inspection) -> Path:
    """Return where the heatmap of an inspection is. Its number makes it unique; the file's name says what it shows."""
    stem = PurePosixPath(record.file_name).stem if record.file_name else record.part
    return folder / f"{names.for_file(f'{stem}-{record.id}')}.png"


def made(folder: Path, record: Inspection, data: bytes, detector: Detector) -> Path:
    """Return the heatmap of an inspection; if it is absent, the detector that gave the verdict makes it again."""
    path = path_of(folder, record)
    if not path.is_file():
        write(path, data, detector.predict(codec.decode(data)).heatmap)
    return path


def write(path: Path, data: bytes, heatmap: np.ndarray) -> None:
    """Write the image `data` with its heatmap [h, w] in [0, 1]. Raises OSError."""
    write_whole(path, codec.encode_png(codec.overlay(codec.decode(data), heatmap)), durable=False)
