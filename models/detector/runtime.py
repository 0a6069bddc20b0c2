"""Run an exported detector: image array in, `Prediction` out. ONNX Runtime and NumPy; never torch.

What is evaluated, promoted and served goes through here, so that all three give the same numbers. The file holds
everything: resize, normalisation, network, calibration and heatmap in the graph, thresholds and origin in its metadata.
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
BOXES = "boxes"  # one more output of a detector that finds boxes by itself


@dataclass(frozen=True)
class DetectorMetadata:
    """What the file says about itself: how to read its answers, and where it came from."""

    kind: str
    line: str
    classes: tuple[str, ...]  # defect types, in the order of the class probabilities
    operating_point: OperatingPoint
    calibrator: Calibrator
    basis: str  # what score and thresholds rest on, in words
    heatmap_threshold: float  # from there on the heatmap's areas, or the file's own boxes, are regions
    image_size_px: int
    tile_px: int | None  # a larger image is seen as overlapping tiles of this side
    backbone: str
    snapshot: str  # DVC hash of data/
    git_commit: str
    mlflow_run_id: str
    params_sha256: str  # of the model and train sections
    defectloop_version: str
    defect_rate: float | None = None  # the line's, that score and thresholds are for; None: the dataset's
    dataset_defect_rate: float | None = None  # among the validation parts; None in files of before

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
        return cls(**({"tile_px": None, "basis": "costs"} | values))  # files of before say neither


class Detector:
    """One loaded file. Safe to share between threads: ONNX Runtime sessions are, and nothing else here changes."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """`threads` bounds ONNX Runtime's own; None takes every core. Raises BadInput when `path` is no detector."""
        self.path = Path(path)
        self.threads = threads or os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            described = self.session.get_modelmeta().custom_metadata_map[METADATA_KEY]
            self.metadata = DetectorMetadata.from_json(described)
        except Exception as error:  # ONNX Runtime raises its own classes, all straight below Exception
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
        """Whether regions are boxes that the network found, and not the heatmap's areas."""
        return BOXES in self._outputs

    def predict(self, image: np.ndarray, region_threshold: float | None = None) -> Prediction:
        """`image` H×W×C (C 1 or 3), uint8 or uint16, of any size; one larger than the file's tiles goes tile by tile.

        `region_threshold` instead of the file's own: to see what lies below it.
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
        """Predictions in the order of `images`, which is read while others are predicted, two a core ahead at most.

        Each image runs alone, on one core: a kernel's sums depend on the batch's size, and the same part must get the
        same score to the bit however it came in. On CPUs that is faster than batches, and than all cores on one image.
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
    """The graph's input, uint16 [1, H, W, C]. 8-bit pixels are widened exactly: 255 · 257 = 65535."""
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype not in (np.uint8, np.uint16):
        raise BadInput(
            f"An image must be H×W×1 or H×W×3 of uint8 or uint16, got {image.dtype} of shape {image.shape}.",
            next_step="Decode it with models.images.codec.decode.",
        )
    if image.dtype == np.uint8:
        image = image.astype(np.uint16) * np.uint16(257)
    return image[None]
