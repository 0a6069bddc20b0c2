"""Dataset versions and the stage graph: DVC. The only importer of dvc.

`dataset_delta` and `dataset_remote` do the work that has to scale, through DVC's object layer. With a release of DVC that
they were not tested with, `Repo.add` and `dataset_cloud` do it: slower, and with the same result (docs/decisions/0011).
"""

from __future__ import annotations

import configparser
import contextlib
import io
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from models.errors import BadData, BadInput, Busy, DefectloopError, NotReady, Refused, Unreachable
from models.files import remove_partial, write_whole
from pipelines.adapters import dataset_cloud, dataset_delta, dataset_remote, git_locks
from pipelines.workspace import Workspace

UNFINISHED = "defectloop-checkout"  # in .dvc/tmp: the version that data/ is being brought to
CALLER = "DEFECTLOOP_CALLER"  # of a stage: the process that runs it, whose end is its own
INTERRUPTED = 130  # exit code of a stage that Ctrl-C ended
REASON = "DEFECTLOOP_REASON"  # of a stage: the file where it leaves the message of the error that ended it
BY_EXIT_CODE = {kind.exit_code: kind for kind in (BadInput, NotReady, Refused, Unreachable, Busy)}

# The releases whose object layer `dataset_delta` and `dataset_remote` were tested with.
TESTED = {"dvc": "3.67", "dvc-data": "3.18", "dvc-objects": "5.2"}

# With the attempts below a remote that hangs is given up after about a minute; botocore's own would take many.
S3_TIMEOUTS_S = {"connect_timeout": "5", "read_timeout": "20"}
S3_ATTEMPTS = "3"


def pointer_hash(pointer: Path) -> str:
    """The hash in a `.dvc` file. Raises NotReady when there is none."""
    if not pointer.exists():
        raise NotReady(f"There is no {pointer}.", next_step="Take a snapshot: defectloop snapshot")
    return hash_in(pointer.read_text())


def hash_in(pointer: str) -> str:
    """The hash in the text of a `.dvc` file."""
    try:
        return str(yaml.safe_load(pointer)["outs"][0]["md5"])
    except (yaml.YAMLError, TypeError, LookupError) as error:
        raise BadData(
            "data.dvc does not name a version of the data.",
            next_step="Restore the committed file: git checkout -- data.dvc (after a conflict: defectloop snapshots merge)",
        ) from error


def is_tested() -> bool:
    """Whether the installed DVC is one whose object layer we were tested with."""
    return all(version(name).startswith(f"{release}.") for name, release in TESTED.items())


def initialise(root: Path, remote_url: str) -> None:
    """Make `root` (a git repository) a DVC one with one default remote. Does nothing where DVC already is.

    What is committed (`.dvc/config`) names no credentials: addresses that hold some go whole into `.dvc/config.local`.
    """
    committed = root / ".dvc" / "config"
    if committed.exists() and "storage" in committed.read_text():  # killed before that, it starts over
        return
    from dvc.repo import Repo

    remote = _remote(remote_url, root)
    public = {key: _without_credentials(value) for key, value in remote.items()}
    secret = {key: value for key, value in remote.items() if value != public[key]}
    git_locks.remove_stale(root)  # DVC stages its files with a git of its own, which may have been killed at it
    with _quiet(), contextlib.closing(Repo.init(str(root), force=True)) as repo:
        with repo.config.edit("repo") as config:
            config["core"] = {"analytics": False, "autostage": False, "check_update": False, "remote": "storage"}
            config["cache"] = {"type": ["reflink", "hardlink", "copy"]}
            config["remote"] = {"storage": public}
        if secret:
            with repo.config.edit("local") as config:
                config["remote"] = {"storage": secret}


def share_cache(root: Path, cache: Path, remote_url: str) -> None:
    """Let the clone at `root` use another repository's cache and remote; kept out of git."""
    from dvc.repo import Repo

    with _opened(Repo, root) as repo, repo.config.edit("local") as config:
        config["cache"] = {"dir": str(cache)}
        config["remote"] = {"storage": _remote(remote_url, root)}


def add_data(root: Path) -> str:
    """Put `data/` under version control and return its hash. Costs what is new; the rest is known by size, time and inode.

    Needs the line's lock: files that killed writers left there are removed, which would take a living one's away.
    Raises NotReady while `data/` is half way to another version.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    data = root / "data"
    unfinished = checkout_unfinished(root)
    if unfinished:
        raise NotReady(
            f"data/ is incomplete: restoring version {unfinished} was interrupted.",
            next_step=f"Finish it: defectloop snapshots restore {unfinished[:12]} (then ingest newer deliveries again)",
        )
    remove_partial(data)
    with _opened(Repo, root) as repo, _reasons() as reasons:
        try:
            short_way = is_tested()
            if not (short_way and dataset_delta.add(repo, root)):
                before = dataset_delta.look(data) if short_way and data.is_dir() else None
                repo.add(str(data))  # DVC takes relative targets from the current directory
                if reasons:
                    raise DvcException("objects are missing")  # it logs that, and goes on as if nothing were wrong
                if short_way:
                    dataset_delta.remember(repo, root, before)
        except (DvcException, OSError) as error:
            raise DefectloopError(
                f"data/ of {root} cannot be put under version control: {_reason(reasons[0] if reasons else error)}.",
                next_step="Check disk space and permissions, then run the same command again.",
            ) from error
    return pointer_hash(root / "data.dvc")


def fetch_data(root: Path, data_hash: str) -> int:
    """Bring every object of a version into the cache; `data/` stays as it is. Resumable. Raises Unreachable."""
    from dvc.repo import Repo

    with _opened(Repo, root) as repo, repo.lock:
        try:
            return dataset_remote.fetch(repo, data_hash) if is_tested() else dataset_cloud.fetch(repo, data_hash)
        except Exception as error:  # DVC's, the operating system's, and those of whatever client the remote needs
            raise Unreachable(
                f"Version {data_hash} of {root / 'data'} cannot be fetched from the DVC remote: {_reason(error)}.",
                next_step="Check the remote (dvc remote list) and run the same command again: it goes on where it stopped."
                " Or ingest the source again.",
            ) from error


def checkout_data(root: Path) -> None:
    """Bring `data/` to what `data.dvc` says, from the cache or the remote.

    It changes only once everything is here. Killed after that it is unfinished, which `add_data` notices.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    data_hash = pointer_hash(root / "data.dvc")
    fetch_data(root, data_hash)
    with _opened(Repo, root) as repo:
        note = Path(repo.tmp_dir) / UNFINISHED
        write_whole(note, data_hash.encode())
        try:
            repo.checkout(targets=[str(root / "data.dvc")], force=True)
        except (DvcException, OSError) as error:
            raise DefectloopError(
                f"data/ of {root} cannot be restored: {_reason(error)}.",
                next_step="Free disk space, then run the same command again.",
            ) from error
        note.unlink()


def checkout_unfinished(root: Path) -> str | None:
    """The version that `data/` is half way to, after a kill; None when it is whole."""
    note = root / ".dvc" / "tmp" / UNFINISHED
    return note.read_text() if note.exists() else None


def push_data(root: Path, earlier: Sequence[str] = ()) -> int:
    """Copy what the remote lacks of the present version; resumable. Raises Unreachable when the remote does not take it.

    `earlier` are the hashes of versions that may be there, newest first: what they hold is not asked about.
    """
    from dvc.repo import Repo

    with _opened(Repo, root) as repo, repo.lock:
        try:
            present = pointer_hash(root / "data.dvc")
            return dataset_remote.push(repo, present, earlier) if is_tested() else dataset_cloud.push(repo, present)
        except NotReady:
            raise
        except Exception as error:  # DVC's, the operating system's, and those of whatever client the remote needs
            raise Unreachable(
                f"The snapshot cannot be pushed to the DVC remote: {_reason(error)}.",
                next_step="Check DEFECTLOOP_REMOTE and the network; the next `defectloop snapshot` continues the push.",
            ) from error


def cached_file(root: Path, data_hash: str, name: str) -> Path | None:
    """A file of any snapshot, from the cache, without checking it out; None when it is not on this machine."""
    return cached_files(root, [data_hash], name).get(data_hash)


def cached_files(root: Path, hashes: Sequence[str], name: str) -> dict[str, Path]:
    """The file of that name of many versions, by version; of those whose file is on this machine."""
    paths = _found(_usual_cache(root), hashes, name)
    missing = [data_hash for data_hash in hashes if data_hash not in paths]
    if missing:  # DVC knows every place where its cache can be configured; importing it takes a second
        from dvc.repo import Repo

        with _opened(Repo, root) as repo:
            cache = Path(repo.cache.local.path)
        paths |= _found(cache, missing, name)
    return paths


def _usual_cache(root: Path) -> Path:
    """The cache where `initialise` and `share_cache` put it."""
    config = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return root / ".dvc" / config.get("cache", "dir", fallback="cache") / "files" / "md5"


def _found(cache: Path, hashes: Sequence[str], name: str) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for data_hash in dict.fromkeys(hashes):
        listing = cache / data_hash[:2] / data_hash[2:]
        md5 = _listed(listing, name) if listing.exists() else None
        path = cache / md5[:2] / md5[2:] if md5 else None
        if path is not None and path.exists():
            paths[data_hash] = path
    return paths


def take_files(root: Path, data_hash: str, names: Sequence[str]) -> None:
    """Put these files of a version into `data/`, which otherwise stays as it is. Raises Unreachable."""
    from dvc.repo import Repo

    fetch_data(root, data_hash)
    with _opened(Repo, root) as repo:
        listed = dataset_delta.listing(repo.cache.local, data_hash)
        for name in names:
            if name not in listed:
                raise BadData(
                    f"Version {data_hash} lists {name} but does not contain it.",
                    next_step="Ingest its source again, then: defectloop snapshot",
                )
            write_whole(
                root / "data" / name, Path(repo.cache.local.oid_to_path(listed[name])).read_bytes(), durable=False
            )


def listed(root: Path, data_hash: str) -> dict[str, str]:
    """MD5 of every file of a version, by its path below `data/`; empty where its listing is not on this machine."""
    from dvc.repo import Repo

    with _opened(Repo, root) as repo:
        try:
            return dataset_delta.listing(repo.cache.local, data_hash)
        except FileNotFoundError:
            return {}


def original(root: Path, md5: str) -> bytes | None:
    """The object of that name from the cache or, where the cache has none or a damaged one, from the remote; None where
    neither has it. Raises Unreachable."""
    from dvc.repo import Repo

    with _opened(Repo, root) as repo, repo.lock:
        path = Path(repo.cache.local.oid_to_path(md5))
        if path.exists() and not dataset_remote.is_sound(str(path), md5):
            path.unlink()  # altered through a link to it
        try:
            if not path.exists():
                (dataset_remote if is_tested() else dataset_cloud).fetch_object(repo, md5)
        except Exception as error:  # DVC's, the operating system's, and those of whatever client the remote needs
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise Unreachable(
                f"Object {md5} cannot be fetched from the DVC remote: {_reason(error)}.",
                next_step="Check the remote (dvc remote list) and run the same command again.",
            ) from error
        return path.read_bytes()


def _listed(listing: Path, name: str) -> str | None:
    """The MD5 of one file of a version. `annotations.parquet` stands first: the rest need not be read for it."""
    with listing.open() as source:
        entry = re.match(r'\[\{"md5": "(\w+)", "relpath": "([^"\\]*)"\}', source.read(1024))
        if entry and entry[2] == name:
            return entry[1]
        source.seek(0)
        return next((one["md5"] for one in json.load(source) if one["relpath"] == name), None)


def run_stage(workspace: Workspace, name: str, *, force: bool = False) -> bool:
    """Run one stage of `dvc.yaml` if it is out of date; True when it ran, False when its outputs were already right.

    `force` runs it in any case: for what DVC can't see.
    The stage's own output streams to the terminal. Its failure comes back as the error it ended with.
    """
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageCmdFailedError

    with (
        tempfile.TemporaryDirectory(prefix="defectloop-") as folder,
        _stage_environment(workspace, Path(folder) / "reason") as reason,
        _opened(Repo, workspace.root) as repo,
    ):
        try:
            return bool(repo.reproduce(targets=[name], single_item=True, force=force))
        except ReproductionError as error:
            cause: BaseException | None = error.__cause__
            if isinstance(cause, StageCmdFailedError):
                exited = re.search(r"exited with (\d+)", str(cause))  # DVC keeps the code in the message alone
                if exited and int(exited.group(1)) == INTERRUPTED:
                    raise KeyboardInterrupt from error
                kind = BY_EXIT_CODE.get(int(exited.group(1)) if exited else 1, DefectloopError)
                why = f": {reason.read_text()}" if reason.exists() else " (see its message above)."
                raise kind(f"Stage {name} failed{why}", next_step=f"Then: dvc repro {name}") from error
            raise _of_dvc(workspace.root, cause if isinstance(cause, Exception) else error) from error
        except _missing_dependencies() as error:
            raise BadData(
                f"Stage {name} cannot start: {error}.", next_step="Run the stages before it: defectloop train"
            ) from error
        except DvcException as error:  # above all a dvc.yaml or dvc.lock that can't be read
            raise _of_dvc(workspace.root, error) from error


@contextlib.contextmanager
def _reasons() -> Iterator[list[BaseException]]:
    """What DVC logs, object by object, where its own exception only says how many failed."""
    errors: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            errors.append(record.exc_info[1])
        return False

    log = logging.getLogger("dvc_data.hashfile.transfer")
    log.addFilter(keep)
    try:
        yield errors
    finally:
        log.removeFilter(keep)


def _reason(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _of_dvc(root: Path, error: Exception) -> DefectloopError:
    """What DVC itself can't read: its own files are in git, so that there is a way back."""
    reasons = [line for one in (error, error.__cause__) if one for line in str(one).splitlines() if line.strip()]
    return BadData(
        f"DVC cannot work in {root}: {' '.join(reasons[:4]) or type(error).__name__}".rstrip(".") + ".",
        next_step="Correct the file, or restore the committed one: git checkout -- dvc.yaml dvc.lock data.dvc .dvc",
    )


def _missing_dependencies() -> tuple[type[Exception], ...]:
    from dvc.dependency.base import DependencyDoesNotExistError

    return (DependencyDoesNotExistError,)


def _remote(url: str, root: Path) -> dict[str, str]:
    """A directory inside the workspace is written relative to it, so that the workspace can be moved."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if url.startswith("s3://"):
        return {"url": url} | S3_TIMEOUTS_S | ({"endpointurl": endpoint} if endpoint else {})
    # DVC takes a relative path from the current directory and writes it relative to its configuration.
    return {"url": os.path.relpath(url) if Path(url).is_relative_to(root) else url}


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else address


@contextlib.contextmanager
def _opened(repo_type: Any, root: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException

    with _quiet():
        try:
            opened = repo_type(str(root), _wait_for_lock=True)
        except DvcException as error:
            raise _of_dvc(root, error) from error
        with contextlib.closing(opened) as repo:
            yield repo


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DVC's own remarks stay out of our output; a stage's do not, they come from another process."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", S3_ATTEMPTS)  # of botocore, for each request
    logging.getLogger("dvc").setLevel(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _stage_environment(workspace: Workspace, reason: Path) -> Iterator[Path]:
    """`python` in `dvc.yaml` shall be the one that runs us, activated or not; a clone's stages share its owner's state.

    Yields `reason`, where a stage that fails says why.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ours = {"PATH": path, "DEFECTLOOP_STATE": str(workspace.state), CALLER: str(os.getpid())}
    ours[REASON] = str(reason)
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        with contextlib.chdir(workspace.root):  # DVC resolves a stage's paths from the current directory
            yield reason
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
