"""Copies dataset versions to the remote and back through DVC's own push and pull, which look at every object each time.

Slower than `dataset_remote`, but independent of DVC's object layer: it serves releases of DVC that we have not tested.
Errors are those of `dataset_remote`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.adapters.dataset_delta import oids
from pipelines.adapters.dataset_remote import BrokenOff


def push(repo: Any, data_hash: str) -> int:
    """Copy what the remote lacks of a version, its listing last; returns how many objects."""
    files = oids(repo.cache.local, data_hash)
    missing = repo.cloud.status(_hash_infos(files)).missing
    if missing:
        raise BrokenOff(f"{len(missing)} objects are neither in the cache nor on the remote")
    return sum(_complete(repo.cloud.push(_hash_infos(names)), names) for names in (files, [data_hash]))


def fetch(repo: Any, data_hash: str) -> int:
    """Copy into the cache what it lacks of a version, its listing first; returns how many objects."""
    cache = repo.cache.local
    done = _pull(repo, [data_hash])
    return done + _pull(repo, [oid for oid in oids(cache, data_hash) if not Path(cache.oid_to_path(oid)).exists()])


def fetch_object(repo: Any, oid: str) -> None:
    """Copy one object into the cache."""
    _pull(repo, [oid])


def _pull(repo: Any, names: list[str]) -> int:
    done = _complete(repo.cloud.pull(_hash_infos(names)), names) if names else 0
    missing = [oid for oid in names if not Path(repo.cache.local.oid_to_path(oid)).exists()]
    if missing:  # DVC logs that neither side has them, and reports success
        raise BrokenOff(f"{len(missing)} objects are not on the remote (first: {missing[0]})") from FileNotFoundError(
            missing[0]
        )
    return done


def _hash_infos(names: Iterable[str]) -> list[Any]:
    from dvc_data.hashfile.hash_info import HashInfo

    return [HashInfo("md5", oid) for oid in names]


def _complete(result: Any, names: Iterable[str]) -> int:
    failed = len(result.failed)
    if failed:
        raise BrokenOff(f"{failed} of {len(list(names))} objects were not copied")
    return len(result.transferred)
