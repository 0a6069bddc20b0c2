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
from operator import itemgetter
from pathlib import Path
from typing import Any

from models.files import write_whole

INDEX = "defectloop-data"  # in .dvc/tmp: losing it costs time and nothing else
_REPOSITORIES = {".git", ".hg", ".dvc"}


def look(data: Path) -> dict[str, str] | None:
    """What tells that a file has changed, by its path below `data`: its time in ns, its size in bytes and its inode, as
    text. None where something is neither a plain file nor a directory."""
    # Text and no tuples: the collector walks through tuples again and again, which would cost more than making them.
    files: dict[str, str] = {}
    waiting = [(str(data), "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    files[prefix + entry.name] = f"{stat.st_mtime_ns} {stat.st_size} {stat.st_ino} "
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    return None
    return files


def add(repo: Any, root: Path) -> bool:
    """Bring cache and `data.dvc` to what `data/` holds. False, with nothing changed, where DVC has to do it."""
    index = _load(repo, root)
    stage = _stage(repo, root)
    if index is None or stage is None:
        return False
    with repo.lock:
        data = root / "data"
        files = look(data)
        if files is None:
            return False
        cache = repo.cache.local
        stored = set(objects(cache))
        hashes = {}
        unknown = []
        for path, token in files.items():
            noted = index.get(path, "")
            md5 = noted[-32:]
            if noted.startswith(token) and md5 in stored:
                hashes[path] = md5
            else:
                unknown.append(path)
        if any(path.endswith(".dvcignore") for path in unknown):
            return False
        if _something_is_ignored(root, unknown):  # to ask DVC costs a look into the whole folder of each file
            unknown = [path for path in unknown if not repo.dvcignore.is_ignored_file(str(data / path))]
        hashes |= _keep(repo, data, unknown)
        _point_to(stage, cache, hashes, sum(int(files[path].split()[1]) for path in hashes))
    _save(repo, root, files, hashes)
    return True


def _something_is_ignored(root: Path, paths: list[str]) -> bool:
    """Whether DVC may leave some of these paths out: by a rule, or since repositories within `data/` are none of its."""
    lines = _ignore_rules(root).decode(errors="replace").splitlines()
    if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        return True
    return any(not _REPOSITORIES.isdisjoint(path.split("/")) for path in paths)


def remember(repo: Any, root: Path, before: dict[str, str] | None) -> None:
    """After DVC's own `add`: note what it found. `before` is `look` from before it; what changed meanwhile is not noted."""
    stage, files = _stage(repo, root), look(root / "data")
    if stage is None or files is None or before is None:
        return
    listed = listing(repo.cache.local, stage.outs[0].hash_info.value)
    # DVC may have put a link in a file's place: another inode of the same bytes.
    steady = (p for p in listed if p in files and p in before and _but_inode(files[p]) == _but_inode(before[p]))
    _save(repo, root, files, {path: listed[path] for path in steady})


def _but_inode(token: str) -> list[str]:
    return token.split()[:2]


def listing(odb: Any, data_hash: str) -> dict[str, str]:
    """MD5 by path of a dataset version. Raises FileNotFoundError when its listing is not in the cache."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(Path(odb.oid_to_path(data_hash)).read_bytes())}


def oids(odb: Any, data_hash: str) -> set[str]:
    """The names of a dataset version's objects, its listing not among them. Raises FileNotFoundError as `listing` does."""
    return set(json.loads(Path(odb.oid_to_path(data_hash)).read_bytes(), object_hook=itemgetter("md5")))


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
    hashed = ((file, HashInfo("md5", md5), None) for file, md5 in zip(files, hashes, strict=True))
    repo.state.save_many(hashed, localfs)
    return dict(zip(paths, hashes, strict=True))


def _md5(file: str) -> str:
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "md5").hexdigest()  # DVC's name for an object; nothing rests on its strength


def _point_to(stage: Any, cache: Any, hashes: dict[str, str], size: int) -> None:
    """Write the listing as DVC writes it, then `data.dvc`: killed between, nothing points to what is not there."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    quoted = json.encoder.encode_basestring_ascii  # `json.dumps` of each would take three times as long
    entries = (f'{{"md5": "{md5}", "relpath": {quoted(path)}}}' for path, md5 in sorted(hashes.items()))
    text = f"[{', '.join(entries)}]".encode()
    name = f"{hashlib.md5(text).hexdigest()}.dir"
    path = Path(cache.oid_to_path(name))
    if not path.exists():
        write_whole(path, text)
        cache.protect(str(path))
    out = stage.outs[0]
    if out.hash_info.value != name:
        out.hash_info, out.meta = HashInfo("md5", name), Meta(size=size, nfiles=len(hashes), isdir=True)
        stage.dump()


def _load(repo: Any, root: Path) -> dict[str, str] | None:
    """What is remembered by path, the token and then the MD5; None when nothing is, or when it is of no use any more."""
    try:
        circumstances, *rest = os.fsdecode((Path(repo.tmp_dir) / INDEX).read_bytes()).split("\0")
    except OSError:
        return None
    return dict(zip(rest[::2], rest[1::2], strict=False)) if circumstances == _circumstances(root) else None


def _save(repo: Any, root: Path, tokens: dict[str, str], hashes: dict[str, str]) -> None:
    """Paths and what is remembered by turns, with the one character between them that no path contains."""
    files = (f"{path}\0{tokens[path]}{md5}" for path, md5 in hashes.items())
    write_whole(Path(repo.tmp_dir) / INDEX, os.fsencode("\0".join([_circumstances(root), *files])))


def _circumstances(root: Path) -> str:
    """What the index rests on besides the files: which of them DVC is told to ignore."""
    return hashlib.sha256(_ignore_rules(root)).hexdigest()


def _ignore_rules(root: Path) -> bytes:
    path = root / ".dvcignore"
    return path.read_bytes() if path.exists() else b""
