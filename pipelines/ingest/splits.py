"""Which split a part belongs to. Decided once, when the part enters; pure and deterministic."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from models.params import SplitShares
from models.vocabulary import Split

Stratum = tuple[str, str]  # slice, label
# What senders call the splits, in folder names and tables.
NAMED = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.VALIDATION, "valid": Split.VALIDATION}
NAMED |= {"validation": Split.VALIDATION, "test": Split.TEST, "testing": Split.TEST}


def assign(
    parts: Iterable[tuple[str, Stratum]],
    shares: SplitShares,
    existing: Mapping[Stratum, Counter[str]] | None = None,
) -> dict[str, str]:
    """Split of every new part.

    Within a stratum the parts go, in the order of their hashes, each to the split that is relatively emptiest, counting
    the parts that are there already (Sainte-Laguë's apportionment). So the shares hold in every slice and label at any
    number of parts, and a slice whose test parts came beforehand shares the next ones out among training and validation.
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
    """The split of a part for which several are stated: training before validation before test.

    What had a say in making a detector must not judge it, so a part only ever moves away from the test split.
    """
    return min(splits, key=[split.value for split in Split].index)


def _hash(part: str) -> bytes:
    return hashlib.sha256(part.encode()).digest()
