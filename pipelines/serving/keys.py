"""API keys of the service: who may do what on which lines.

A key is `dlk_ID_SECRET` with a random secret of 256 bits. `keys.json` holds its SHA-256: a random secret of this size cannot
be guessed, so a slow password hash would only slow down each request. Only commands write that file (`create`, `revoke`);
a running service notices a change with the next request (`KeyRing`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from models import names
from models.errors import BadData, BadInput, Busy, DefectloopError
from models.files import replacing, write_whole
from pipelines.workspace import Workspace

log = logging.getLogger(__name__)

FILE = "keys.json"
USE_FILE = "keys-last-used.json"  # written by the service alone
FOUND_KEY = re.compile(r"dlk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
LOCK_S = 10.0
HOUR_S = 3600


class Role(StrEnum):
    STATION = "station"
    REVIEWER = "reviewer"
    ENGINEER = "engineer"
    ADMIN = "admin"


class Permission(StrEnum):
    INSPECT = "inspect"
    READ = "read"
    REVIEW = "review"
    OPERATE = "operate"  # everything else about a line
    ADMINISTER = "administer"  # keys, and what concerns all lines


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.STATION: frozenset({Permission.INSPECT, Permission.READ}),
    Role.REVIEWER: frozenset({Permission.READ, Permission.REVIEW}),
    Role.ENGINEER: frozenset(Permission) - {Permission.ADMINISTER},
    Role.ADMIN: frozenset(Permission),
}


class Key(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    role: Role
    lines: tuple[str, ...] | None  # None: all
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, at: datetime) -> str:
        """Return `valid`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "valid"

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS[self.role]

    def reaches(self, line: str) -> bool:
        return self.lines is None or line in self.lines


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[Key]


def folder(workspace: Workspace) -> Path:
    return workspace.state / "service"


def read(folder: Path) -> list[Key]:
    """Return all keys, the oldest first; none if the file does not exist. Raises BadData if it is damaged."""
    path = folder / FILE
    try:
        return _File.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no list of keys"
        raise BadData(
            f"{path} cannot be read: {reason}.",
            next_step="Restore it from a backup, or delete it: the next start of the service creates a new admin key.",
        ) from error


def last_used(folder: Path) -> dict[str, datetime]:
    """Return the hour in which each key was last used, by its id."""
    try:
        return {id_: datetime.fromisoformat(text) for id_, text in json.loads((folder / USE_FILE).read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def create(
    folder: Path,
    name: str,
    role: Role,
    lines: Iterable[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """Create a key. Returns it and its text, which is stored nowhere. Raises BadInput, BadData and Busy."""
    names.require(name, "the key's name")
    chosen = None if lines is None else tuple(sorted(set(lines)))
    for line in chosen or ():
        names.require(line, "the line")
    if chosen is not None and role is Role.ADMIN:
        raise BadInput("An admin key is for all lines.", next_step="Leave out --line, or choose --role engineer.")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise BadInput("The key would expire at once.", next_step="Choose a positive --expires-days.")
    with _locked(folder):
        keys = read(folder)
        if any(key.name == name and key.state(datetime.now(UTC)) == "valid" for key in keys):
            raise BadInput(
                f"A valid key is named {name!r} already.",
                next_step="Choose another name, or revoke that one: defectloop keys revoke NAME.",
            )
        return _added(folder, keys, name, role, chosen, expires_at)


def create_first(folder: Path) -> tuple[Key, str] | None:
    """Create an admin key if there has never been any key. Returns it and its text, or None."""
    with _locked(folder):
        keys = read(folder)
        return None if keys else _added(folder, keys, "first admin", Role.ADMIN, None, None)


def revoke(folder: Path, wanted: str) -> Key:
    """Revoke the key with this id, or the valid one with this name. Raises BadInput, BadData and Busy."""
    with _locked(folder):
        keys = read(folder)
        now = datetime.now(UTC)
        found = [key for key in keys if key.id == wanted] or [
            key for key in keys if key.name == wanted and key.state(now) == "valid"
        ]
        if not found:
            raise BadInput(f"There is no valid key {wanted!r}.", next_step="See: defectloop keys list")
        revoked = found[0].model_copy(update={"revoked_at": found[0].revoked_at or now})
        _write(folder, [revoked if key.id == revoked.id else key for key in keys])
        return revoked


class KeyRing:
    """The keys as a running service uses them. Reads the file again when it was replaced. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._used = {id_: int(at.timestamp()) // HOUR_S for id_, at in last_used(folder).items()}
        self._version = self._version_on_disk()  # before reading, so that a change in between is noticed
        self._keys = {key.id: key for key in read(folder)}

    def valid(self, text: str) -> Key | None:
        """Return the key with this text unless it is unknown, revoked or expired."""
        self._refresh()
        if not FOUND_KEY.fullmatch(text):
            return None
        key = self._keys.get(text[4:12])
        digest, now = hashlib.sha256(text.encode()).hexdigest(), datetime.now(UTC)
        if key is None or not hmac.compare_digest(key.sha256, digest) or key.state(now) != "valid":
            return None
        self._note_use(key, int(now.timestamp()) // HOUR_S)
        return key

    def _refresh(self) -> None:
        version = self._version_on_disk()
        if version == self._version:
            return
        with self._lock:
            self._version = version
            try:
                self._keys = {key.id: key for key in read(self._folder)}
            except DefectloopError as error:  # damaged by hand: the line goes on with the keys that it had
                log.error("The keys of before stay in use: %s", error)

    def _version_on_disk(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._folder / FILE)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _note_use(self, key: Key, hour: int) -> None:
        """Store the hour of the last use, once per key and hour."""
        if self._used.get(key.id) == hour:
            return
        with self._lock:
            self._used[key.id] = hour
            said = {id_: datetime.fromtimestamp(at * HOUR_S, UTC).isoformat() for id_, at in self._used.items()}
            try:
                write_whole(self._folder / USE_FILE, json.dumps(said).encode(), durable=False)
            except OSError as error:  # a full disk must not turn stations away
                log.warning("The last use of keys cannot be stored: %s.", error.strerror)


def _added(
    folder: Path,
    keys: list[Key],
    name: str,
    role: Role,
    lines: tuple[str, ...] | None,
    expires_at: datetime | None,
) -> tuple[Key, str]:
    taken = {key.id for key in keys}
    while (id_ := secrets.token_hex(4)) in taken:
        pass
    text = f"dlk_{id_}_{secrets.token_urlsafe(32)}"
    key = Key(
        id=id_,
        name=name,
        role=role,
        lines=lines,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )
    _write(folder, [*keys, key])
    return key, text


def _write(folder: Path, keys: list[Key]) -> None:
    with replacing(folder / FILE) as sink:
        os.fchmod(sink.fileno(), 0o600)
        sink.write(_File(keys=keys).model_dump_json(indent=1).encode())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "keys.lock", timeout=LOCK_S)
    try:
        lock.acquire()
    except Timeout:
        raise Busy("Another command is changing the keys.", next_step="Run the same command again.") from None
    try:
        yield
    finally:
        lock.release()
