"""Lines for benchmarks: a delivery, a split drawn from a seed, and params.yaml with what differs from its defaults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from models import annotation_table
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


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, Mapping):
        return old | {name: _merged(old.get(name), value) for name, value in new.items()}
    return new
