"""Run an exported detector: image array in, `Prediction` out. Needs ONNX Runtime and NumPy, never torch.

Evaluation, promotion and serving all use this module, so their numbers agree. The ONNX file is complete: resize,
normalisation, network, calibration and heatmap are in the graph, thresholds and lineage in its metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime

from models.detector.regions import from_boxes, from_heatmap
from models.errors import BadInput
from models.images.tiling import joined, windows
from models.thresholds.calibration import Calibrator
from models.vocabulary import OperatingPoint, Prediction, Verdict

METADATA_KEY = "defectloop"
INPUT = "image"
OUTPUTS = ("score", "raw_score", "class_probabilities", "heatmap", "embedding", "projection")
BOXES = "boxes"  # additional output of detectors that predict boxes


@dataclass(frozen=True)
class DetectorMetadata:
    """Metadata of the ONNX file: thresholds and classes for its outputs, and its lineage."""

    kind: str
    line: str
    classes: tuple[str, ...]  # defect types, in the order of the class probabilities
    operating_point: OperatingPoint
    calibrator: Calibrator
    basis: str  # how score and thresholds were fitted, in words
    heatmap_threshold: float  # region threshold, for the heatmap or the predicted boxes
    image_size_px: int
    tile_px: int | None  # larger images are split into overlapping tiles of this side
    backbone: str
    snapshot: str  # DVC hash of data/
    git_commit: str
    mlflow_run_id: str
    params_sha256: str  # of the model and train sections
    defectloop_version: str
    defect_rate: float | None = None  # of the line, assumed by score and thresholds; None: the dataset's
    dataset_defect_rate: float | None = None  # of the validation parts; None in older files

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DetectorMetadata:
        values = json.loads(text)
        values["classes"] = tuple(values["classes"])
        values["operating_point"] = OperatingPoint(**values["operating_point"])
        calibrator = values["calibrator"]
        knots = tuple((float(raw), float(probability)) for raw, probability in calibrator.pop("knots", ()))
        values["calibrator"] = Calibrator(**calibrator, knots=knots)
        return cls(**({"tile_px": None, "basis": "costs"} | values))  # missing in older files


class Detector:
    """A loaded detector. Thread-safe."""

    def __init__(self, path: Path, threads: int | None = None, spin_us: int | None = None) -> None:
        """`threads` limits ONNX Runtime's threads; None uses all cores. `spin_us` limits how long a thread keeps its core
        busy while it waits for work; None leaves it to ONNX Runtime, whose threads may go on for a second after an image.
        Raises BadInput if `path` is not a detector.
        """
        self.path = Path(path)
        self.threads = threads or os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        if spin_us is not None:
            options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            described = self.session.get_modelmeta().custom_metadata_map[METADATA_KEY]
            self.metadata = DetectorMetadata.from_json(described)
        except Exception as error:  # ONNX Runtime's exceptions have no common base class below Exception
            reason = "its metadata is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise BadInput(
                f"{path} is no defectloop detector: {reason}.", next_step="Export one: defectloop train."
            ) from error

    @cached_property
    def _outputs(self) -> tuple[str, ...]:
        names = {output.name for output in self.session.get_outputs()}
        return (*OUTPUTS, BOXES) if BOXES in names else OUTPUTS

    @cached_property
    def sha256(self) -> str:
        with self.path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    def verdict(self, score: float) -> Verdict:
        return self.metadata.operating_point.verdict(score)

    @property
    def finds_boxes(self) -> bool:
        """Whether regions come from predicted boxes instead of the heatmap."""
        return BOXES in self._outputs

    def predict(self, image: np.ndarray, region_threshold: float | None = None) -> Prediction:
        """Return the prediction for `image` [H, W, C] (C 1 or 3), uint8 or uint16, of any size.

        Images larger than the detector's tiles are predicted tile by tile. `region_threshold` replaces the detector's own,
        for example to show regions below it. Raises BadInput.
        """
        threshold = self.metadata.heatmap_threshold if region_threshold is None else region_threshold
        tile_px = self.metadata.tile_px
        if tile_px is None or max(image.shape[:2]) <= tile_px:
            return self._predict(image, threshold)
        height, width = image.shape[:2]
        answers = ((window, self._predict(window.of(image), threshold)) for window in windows(width, height, tile_px))
        whole = joined(answers, width, height, own_boxes=self.finds_boxes)
        if self.finds_boxes:
            return whole
        regions = from_heatmap(whole.heatmap, threshold, width_px=width, height_px=height)
        return replace(whole, regions=regions)

    def _predict(self, image: np.ndarray, threshold: float) -> Prediction:
        outputs = self.session.run(self._outputs, {INPUT: as_input(image)})
        score, raw_score, probabilities, heatmap, embedding, projection, *boxes = (output[0] for output in outputs)
        height, width = image.shape[:2]
        return Prediction(
            score=float(score),
            raw_score=float(raw_score),
            class_probabilities=dict(zip(self.metadata.classes, map(float, probabilities), strict=True)),
            heatmap=heatmap,
            embedding=embedding,
            projection=projection,
            regions=from_boxes(boxes[0], threshold, self.metadata.classes, width_px=width, height_px=height)
            if boxes
            else from_heatmap(heatmap, threshold, width_px=width, height_px=height),
        )

    def predict_many(self, images: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Yield predictions in the order of `images`, reading at most two images per core ahead.

        Each image runs alone on one core. Floating-point sums depend on the batch size, and the same image must always
        get exactly the same score. On CPUs this is also faster than batches or several cores per image.
        """
        waiting: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="predict") as pool:
            for image in images:
                waiting.append(pool.submit(self._on_one_core.predict, image))
                if len(waiting) >= 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @cached_property
    def _on_one_core(self) -> Detector:
        return self if self.threads == 1 else Detector(self.path, threads=1)


def as_input(image: np.ndarray) -> np.ndarray:
    """Return the graph's input, uint16 [1, H, W, C]; 8-bit values are multiplied by 257. Raises BadInput."""
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype not in (np.uint8, np.uint16):
        raise BadInput(
            f"An image must be H×W×1 or H×W×3 of uint8 or uint16, got {image.dtype} of shape {image.shape}.",
            next_step="Decode it with models.images.codec.decode.",
        )
    if image.dtype == np.uint8:
        image = image.astype(np.uint16) * np.uint16(257)
    return image[None]
