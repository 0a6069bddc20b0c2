"""Assigns parts to splits. Each part is assigned once, when it enters; pure and deterministic."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from models.params import SplitShares
from models.vocabulary import Split

Stratum = tuple[str, str]  # slice, label
# Names of the splits in deliveries, as folder names and in tables.
NAMED = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.VALIDATION, "valid": Split.VALIDATION}
NAMED |= {"validation": Split.VALIDATION, "test": Split.TEST, "testing": Split.TEST}


def assign(
    parts: Iterable[tuple[str, Stratum]],
    shares: SplitShares,
    existing: Mapping[Stratum, Counter[str]] | None = None,
) -> dict[str, str]:
    """Return the split of every new part.

    Within a stratum, parts are taken in the order of their hashes, and each goes to the split that is relatively emptiest,
    counting the present parts (Sainte-Laguë apportionment). So the shares are kept for every slice and label and for any
    number of parts. If a slice already has its test parts, the next parts go to training and validation.
    """
    wanted = {Split.TRAIN: shares.train, Split.VALIDATION: shares.validation, Split.TEST: shares.test}
    target = {name: share for name, share in wanted.items() if share > 0}
    counts = {stratum: Counter(counter) for stratum, counter in (existing or {}).items()}
    assigned: dict[str, str] = {}
    for part, stratum in sorted(dict(parts).items(), key=lambda item: _hash(item[0])):
        of_stratum = counts.setdefault(stratum, Counter())
        split = min(target, key=lambda name: (of_stratum[name] + 0.5) / target[name])
        of_stratum[split] += 1
        assigned[part] = split.value
    return assigned


def nearest_to_training(splits: Collection[str]) -> str:
    """Return the split of a part for which several splits are stated: training before validation before test.

    A part that was used for training must not be used for testing, so parts only move away from the test split.
    """
    return min(splits, key=[split.value for split in Split].index)


def _hash(part: str) -> bytes:
    return hashlib.sha256(part.encode()).digest()
