"""What is new in `data/`, put under version control without going through the rest again: DVC's object layer.

DVC's own `add` costs about 0.1 ms for each file that has not changed, several times over. This one remembers each file's
size, time and inode with its hash, as DVC's state does, and makes the same object files, the same listing and the same
`data.dvc`. Whatever it does not know for sure it leaves to DVC.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.files import write_whole

INDEX = "defectloop-data.parquet"  # in .dvc/tmp: losing it costs time and nothing else
Seen = tuple[int, int, int]  # mtime in ns, size in bytes, inode
_COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("mtime_ns", pa.int64()),
        ("size", pa.int64()),
        ("inode", pa.uint64()),
        ("md5", pa.string()),
    ]
)


def look(data: Path) -> dict[str, Seen] | None:
    """Every file below `data` by its relative path; None where something is neither a plain file nor a directory."""
    found: dict[str, Seen] = {}
    waiting = [(str(data), "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return None
                if entry.is_dir():
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_file():
                    stat = entry.stat()
                    found[prefix + entry.name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                else:
                    return None
    return found


def add(repo: Any, root: Path) -> bool:
    """Bring cache and `data.dvc` to what `data/` holds. False, with nothing changed, where DVC has to do it."""
    index = _load(repo, root)
    stage = _stage(repo, root)
    if index is None or stage is None:
        return False
    with repo.lock:
        data = root / "data"
        seen = look(data)
        if seen is None:
            return False
        cache = repo.cache.local
        stored = set(objects(cache))
        hashes = {}
        unknown = []
        for path, now in seen.items():
            before = index.get(path)
            if before is not None and before[:3] == now and before[3] in stored:
                hashes[path] = before[3]
            else:
                unknown.append(path)
        if any(path.endswith(".dvcignore") for path in unknown):
            return False
        unknown = [path for path in unknown if not repo.dvcignore.is_ignored_file(str(data / path))]
        hashes |= _keep(repo, data, unknown)
        _point_to(stage, cache, hashes, sum(seen[path][1] for path in hashes))
    _save(repo, root, seen, hashes)
    return True


def remember(repo: Any, root: Path, before: dict[str, Seen] | None) -> None:
    """After DVC's own `add`: note what it found. `before` is `look` from before it; what changed meanwhile is not noted."""
    stage, seen = _stage(repo, root), look(root / "data")
    if stage is None or seen is None or before is None:
        return
    listed = listing(repo.cache.local, stage.outs[0].hash_info.value)
    steady = (path for path in listed if path in seen and path in before and seen[path][:2] == before[path][:2])
    _save(repo, root, seen, {path: listed[path] for path in steady})


def listing(odb: Any, data_hash: str) -> dict[str, str]:
    """MD5 by path of a dataset version. Raises FileNotFoundError when its listing is not in the cache."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(Path(odb.oid_to_path(data_hash)).read_bytes())}


def objects(odb: Any) -> Iterable[str]:
    """The names of all objects in a cache."""
    if not os.path.isdir(odb.path):
        return
    for prefix in os.listdir(odb.path):
        if len(prefix) == 2:
            for rest in os.listdir(f"{odb.path}/{prefix}"):
                yield prefix + rest


def _stage(repo: Any, root: Path) -> Any:
    """The stage of `data.dvc`, or None where there is none with one plain directory."""
    if not (root / "data.dvc").exists():
        return None
    stage = repo.stage.load_one(str(root / "data.dvc"))
    plain = len(stage.outs) == 1 and not stage.deps and stage.outs[0].hash_info and stage.outs[0].hash_info.isdir
    return stage if plain and stage.outs[0].hash_name == "md5" and not stage.outs[0].files else None


def _keep(repo: Any, data: Path, paths: list[str]) -> dict[str, str]:
    """Hash files and link them into the cache; MD5 by path."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_objects.fs.local import localfs

    files = [str(data / path) for path in paths]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        hashes = list(pool.map(_md5, files, chunksize=64))
    by_hash = dict(zip(hashes, files, strict=True))
    repo.cache.local.add(list(by_hash.values()), localfs, list(by_hash), hardlink=True)
    # DVC's own memory, so that `dvc status` and `dvc repro` don't hash them again.
    known = ((file, HashInfo("md5", md5), None) for file, md5 in zip(files, hashes, strict=True))
    repo.state.save_many(known, localfs)
    return dict(zip(paths, hashes, strict=True))


def _md5(file: str) -> str:
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "md5").hexdigest()  # DVC's name for an object; nothing rests on its strength


def _point_to(stage: Any, cache: Any, hashes: dict[str, str], size: int) -> None:
    """Write the listing as DVC writes it, then `data.dvc`: killed between, nothing points to what is not there."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    entries = [{"md5": md5, "relpath": path} for path, md5 in sorted(hashes.items())]
    text = json.dumps(entries, sort_keys=True).encode()
    name = f"{hashlib.md5(text).hexdigest()}.dir"
    path = Path(cache.oid_to_path(name))
    if not path.exists():
        write_whole(path, text)
        cache.protect(str(path))
    out = stage.outs[0]
    if out.hash_info.value != name:
        out.hash_info, out.meta = HashInfo("md5", name), Meta(size=size, nfiles=len(hashes), isdir=True)
        stage.dump()


def _load(repo: Any, root: Path) -> dict[str, tuple[int, int, int, str]] | None:
    """What is remembered by path; None when nothing is, or when it is of no use any more."""
    path = Path(repo.tmp_dir) / INDEX
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if table.schema.metadata != _circumstances(root) or table.schema.names != _COLUMNS.names:
        return None
    paths, *rest = (column.to_pylist() for column in table.columns)
    return dict(zip(paths, zip(*rest, strict=True), strict=True))


def _save(repo: Any, root: Path, seen: dict[str, Seen], hashes: dict[str, str]) -> None:
    stats = list(zip(*(seen[path] for path in hashes), strict=True)) or [(), (), ()]
    columns = [list(hashes), *map(list, stats), list(hashes.values())]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _COLUMNS, strict=True)]
    sink = pa.BufferOutputStream()
    schema = _COLUMNS.with_metadata(_circumstances(root))
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    write_whole(Path(repo.tmp_dir) / INDEX, sink.getvalue().to_pybytes())


def _circumstances(root: Path) -> dict[bytes, bytes]:
    """What the index rests on besides the files: which of them DVC is told to ignore."""
    rules = root / ".dvcignore"
    return {b"dvcignore": hashlib.sha256(rules.read_bytes() if rules.exists() else b"").hexdigest().encode()}
