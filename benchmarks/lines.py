"""Lines for benchmarks: a delivery, a split drawn from a seed, params.yaml with what differs, and what came of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import parquet

from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.images import codec
from models.vocabulary import Split
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

Row = dict[str, Any]


def settle(place: Workspace, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the changed sections into params.yaml and make the data a version that stages can name."""
    path = place.root / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        params[section] = _merged(params[section], values)
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    dataset_versions.add_data(place.root)
    git.commit(place.root, ["data.dvc", "params.yaml"], "The benchmark's data")


def split(place: Workspace, stratum: Callable[[Row], Hashable], seed: int, *, test: float, validation: float) -> None:
    """Give every image of the line its split anew; for `drawn`."""
    table = drawn(annotation_table.load(place.annotations), stratum, seed, test=test, validation=validation)
    annotation_table.save(table, place.annotations)


def drawn(
    table: pa.Table, stratum: Callable[[Row], Hashable], seed: int, *, test: float, validation: float
) -> pa.Table:
    """Every stratum by itself, part by part: shares of parts for test and validation, the rest for training."""
    parts: dict[Hashable, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(table.to_pylist()):
        parts[stratum(row)][row["part"]].append(number)
    splits = np.full(len(table), Split.TRAIN.value, dtype=object)
    random = np.random.default_rng(seed)
    for of_stratum in parts.values():
        names = sorted(of_stratum)
        order = random.permutation(len(names))
        first, second = round(test * len(names)), round(validation * len(names))
        for at, number in enumerate(order[: first + second]):
            splits[of_stratum[names[number]]] = Split.TEST.value if at < first else Split.VALIDATION.value
    return table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits, pa.string()))


def tested(place: Workspace) -> list[Row]:
    """What `evaluate` saw: one row per test image, as `models.evaluation.evaluation.predict` has them."""
    return list(parquet.read_table(place.artifacts / "evaluate" / "predictions.parquet").to_pylist())


def milliseconds(place: Workspace, most: int = 60) -> float:
    """The median from image array to prediction, over at most so many test images."""
    detector, taken = Detector(place.artifacts / "export" / "detector.onnx"), []
    for row in tested(place)[:most]:
        image = codec.read(place.data / row["file"])
        begun = time.perf_counter()
        detector.predict(image)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken) * 1e3)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, Mapping):
        return old | {name: _merged(old.get(name), value) for name, value in new.items()}
    return new
