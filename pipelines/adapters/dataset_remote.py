"""The way of a dataset version to the remote and back, object by object: DVC's object layer.

A version's listing goes up last and comes down first: where the remote has a listing, it has every object in it. So a
version that is up tells which objects are, and only the rest is asked about. The first object that fails ends the copy, so
that a remote that hangs costs one timeout and not one for each object; what is there already is not copied again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from models.errors import NotReady
from pipelines.adapters.dataset_delta import oids

EARLIER = 3  # versions that the remote is asked for, newest first


class BrokenOff(Exception):
    """A copy that failed half way."""


def push(repo: Any, data_hash: str, earlier: Sequence[str]) -> int:
    """Copy what the remote lacks of a version; returns how many objects. `earlier` are versions that may be there, newest
    first. Raises BrokenOff, OSError and whatever the remote's client raises."""
    cache, remote = repo.cache.local, _remote(repo)
    if _there(remote, data_hash):
        return 0
    wanted = oids(cache, data_hash)
    for candidate in [name for name in earlier if name != data_hash][:EARLIER]:
        try:
            pushed = oids(cache, candidate)
        except FileNotFoundError:
            continue
        if _there(remote, candidate):
            wanted -= pushed
            break
    lacking = sorted(wanted - set(remote.oids_exist(sorted(wanted)))) if wanted else []
    absent = [oid for oid in lacking if not Path(cache.oid_to_path(oid)).exists()]
    if absent:
        raise NotReady(
            f"{len(absent)} objects of the snapshot are neither in DVC's cache nor on the remote (first: {absent[0]}).",
            next_step="Ingest their source again, then: defectloop validate && defectloop snapshot",
        )
    return _copy(cache, remote, lacking) + _copy(cache, remote, [data_hash])


def fetch(repo: Any, data_hash: str) -> int:
    """Copy into the cache what it lacks of a version; returns how many objects. Errors as `push`."""
    cache = repo.cache.local
    lacking = _lacking(cache, data_hash)
    if not lacking:
        return 0
    remote = _remote(repo)
    done = 0
    if lacking == [data_hash]:
        done = _copy(remote, cache, lacking, check=_require_sound)
        lacking = _lacking(cache, data_hash)
    return done + _copy(remote, cache, lacking, check=_require_sound)


def fetch_object(repo: Any, oid: str) -> None:
    """Copy one object into the cache. Errors as `push`."""
    _copy(_remote(repo), repo.cache.local, [oid], check=_require_sound)


def _lacking(cache: Any, data_hash: str) -> list[str]:
    """The objects of a version that the cache lacks; its listing alone where that is missing."""
    try:
        wanted = oids(cache, data_hash)
    except FileNotFoundError:
        return [data_hash]
    return sorted(wanted - set(cache.oids_exist(sorted(wanted))))


def _remote(repo: Any) -> Any:
    remote = repo.cloud.get_remote_odb(command="push")
    client = remote.fs.fs
    if hasattr(client, "retries"):
        client.retries = 1  # s3fs would repeat what botocore has repeated already (AWS_MAX_ATTEMPTS)
    if hasattr(client, "invalidate_cache"):
        client.invalidate_cache()  # another process may have pushed since
    return remote


def _there(remote: Any, oid: str) -> bool:
    """Whether the remote has an object. DVC's `exists` takes an unreachable remote for an empty one."""
    try:
        remote.fs.info(remote.oid_to_path(oid))
    except FileNotFoundError:
        return False
    return True


def _copy(source: Any, target: Any, names: Sequence[str], check: Callable[[str, str], None] | None = None) -> int:
    from dvc_objects.fs import generic

    def one(oid: str) -> None:
        path = target.oid_to_path(oid)
        generic.transfer(source.fs, source.oid_to_path(oid), target.fs, path)
        if check:
            check(path, oid)
        target.protect(path)

    for prefix in {name[:2] for name in names}:
        target.makedirs(target.fs.join(target.path, prefix))
    between_disks = source.fs.protocol == target.fs.protocol == "local"
    done = 0
    with ThreadPoolExecutor(max_workers=2 if between_disks else max(source.fs.jobs, target.fs.jobs)) as pool:
        under_way = [pool.submit(one, name) for name in names]
        try:
            for finished in as_completed(under_way):
                finished.result()
                done += 1
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".rstrip(".: ")
            raise BrokenOff(f"{done} of {len(names)} objects were copied, then {reason}") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return done


def _require_sound(path: str, oid: str) -> None:
    """An object is named by its hash: one that came damaged is not kept."""
    if not is_sound(path, oid):
        Path(path).unlink()
        raise BrokenOff(f"object {oid} came damaged")


def is_sound(path: str, oid: str) -> bool:
    """Whether an object holds what it is named after."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "md5").hexdigest() == oid.removesuffix(".dir")
