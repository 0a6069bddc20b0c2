"""Reads the model registry without importing mlflow, which takes seconds: from a server through MLflow's REST API
(https://mlflow.org/docs/latest/rest-api.html), from a database through its tables.

The tables are not documented, so they are read only at the revisions in `TESTED`. Every function raises `ThroughMlflow`
where this way does not apply: another revision, a login that mlflow alone knows, a damaged database. The caller then asks
mlflow.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import Unreachable
from pipelines import deadlines
from pipelines.workspace import Workspace

if TYPE_CHECKING:  # imported where a server is asked: most workspaces have none
    from urllib.error import HTTPError
    from urllib.request import Request

TESTED = ("dc11669786a5",)  # revisions of MLflow's database (alembic) whose tables this module reads; mlflow 3.17
NEXT_STEP = "Check MLFLOW_TRACKING_URI and the server's log."
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # an unknown model, version or alias
PAGE_SIZE = 1000
LONGEST_REASON = 300
# Settings of mlflow's own client that this module does not know.
MLFLOW_ALONE = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_WORKSPACE",
)


class ThroughMlflow(Exception):
    """This registry has to be read through mlflow."""


@dataclass(frozen=True)
class Entry:
    """A registered version, with the names that mlflow's own entity has."""

    version: str
    run_id: str
    source: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


def by_alias(workspace: Workspace, model: str, alias: str) -> Entry | None:
    """Return the version with this alias, or None. Raises Unreachable and ThroughMlflow."""
    if _is_server(workspace):
        found = _ask(workspace, "registered-models/alias", name=model, alias=alias)
        return _entry(found["model_version"]) if found else None
    with _tables(workspace) as read:
        rows = read(
            "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = :n AND alias = :a",
            n=model,
            a=alias,
        )
        return _versions(read, model, int(rows[0][0]))[0] if rows else None


def by_number(workspace: Workspace, model: str, number: str) -> Entry | None:
    """Return the version with this number, or None. Raises Unreachable and ThroughMlflow."""
    if not number.isdecimal():
        return None
    if _is_server(workspace):
        found = _ask(workspace, "model-versions/get", name=model, version=number)
        return _entry(found["model_version"]) if found else None
    with _tables(workspace) as read:
        return next(iter(_versions(read, model, int(number))), None)


def all_of(workspace: Workspace, model: str) -> list[Entry]:
    """Return all versions, in any order. Raises Unreachable and ThroughMlflow."""
    if not _is_server(workspace):
        with _tables(workspace) as read:
            return _versions(read, model)
    entries: list[Mapping[str, Any]] = []
    token = ""
    while True:
        page = _ask(
            workspace,
            "model-versions/search",
            filter=f"name = '{model}'",
            max_results=PAGE_SIZE,
            **({"page_token": token} if token else {}),
        )
        entries += (page or {}).get("model_versions", [])
        token = (page or {}).get("next_page_token", "")
        if not token:
            break
    registered = (_ask(workspace, "registered-models/get", name=model) if entries else None) or {}
    aliases = registered.get("registered_model", {}).get("aliases", [])
    return [
        _entry(entry, [one["alias"] for one in aliases if str(one["version"]) == str(entry["version"])])
        for entry in entries
    ]


def copy_files(workspace: Workspace, model: str, number: str, names: Sequence[str], folder: Path) -> None:
    """Copy these files of a version into `folder`. Raises Unreachable, OSError, and ThroughMlflow for locations other than a
    folder on this machine and the artifact proxy of MLflow's server."""
    if _is_server(workspace):
        found = _ask(workspace, "model-versions/get-download-uri", name=model, version=number)
        location = urllib.parse.urlsplit((found or {}).get("artifact_uri", ""))
        if location.scheme != "mlflow-artifacts" or location.netloc:
            raise ThroughMlflow
        for name in names:
            path = f"mlflow-artifacts/artifacts/{location.path.strip('/')}/{name}"
            _get(workspace, urllib.parse.quote(path), partial(_save, folder / name))
        return
    with _tables(workspace) as read:
        rows = read(
            "SELECT coalesce(storage_location, source) FROM model_versions "
            "WHERE workspace = 'default' AND name = :n AND version = :v",
            n=model,
            v=int(number),
        )
    source = _local_folder(rows[0][0] if rows else "")
    own = workspace.artifact_root
    # The paths of a copied workspace still lead into its original; mlflow's way corrects them.
    if source is None or (_is_own(workspace) and own is not None and not source.is_relative_to(own)):
        raise ThroughMlflow
    for name in names:
        shutil.copyfile(source / name, folder / name)


def _is_server(workspace: Workspace) -> bool:
    return workspace.tracking_uri.startswith(("http://", "https://"))


def _is_own(workspace: Workspace) -> bool:
    return workspace.tracking_uri == f"sqlite:///{workspace.state / 'mlflow.db'}"


def _local_folder(address: str) -> Path | None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(urllib.parse.unquote(parts.path))
    return Path(address) if address.startswith("/") else None


# --- tables ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _tables(workspace: Workspace) -> Iterator[Any]:
    """Yield a function that returns the rows of a query. Raises ThroughMlflow if the database is not one that was tested, or
    cannot be read; mlflow's way says why."""
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    uri = workspace.tracking_uri
    _require_no_own_settings()
    if not uri.startswith(("sqlite:///", "postgresql")):
        raise ThroughMlflow
    try:
        engine = create_engine(uri, poolclass=NullPool)
        if engine.url.get_backend_name() == "sqlite":
            if not Path(engine.url.database or "").is_file():
                if not _is_own(workspace):
                    raise ThroughMlflow
                yield lambda *_, **__: []  # nothing was registered yet
                return
            event.listens_for(engine, "connect")(lambda connection, _: connection.execute("PRAGMA query_only = ON"))
        with engine.connect() as connection:

            def read(query: str, **values: Any) -> list[Any]:
                ask = partial(lambda: connection.execute(text(query), values).all())
                if engine.url.get_backend_name() == "sqlite":
                    return list(ask())
                return list(deadlines.within(ask, "The tracking database", next_step=NEXT_STEP))

            revisions = [row[0] for row in read("SELECT version_num FROM alembic_version")]
            if len(revisions) != 1 or revisions[0] not in TESTED:
                raise ThroughMlflow
            yield read
    except (SQLAlchemyError, sqlite3.Error, ImportError) as error:
        raise ThroughMlflow from error


def _versions(read: Any, model: str, number: int | None = None) -> list[Entry]:
    """Return all versions of a model, or that of this number. Deleted versions are left out."""
    of_model = "workspace = 'default' AND name = :n"
    only, values = ("", {"n": model}) if number is None else (" AND version = :v", {"n": model, "v": number})
    rows = read(
        "SELECT version, run_id, source, description FROM model_versions "
        f"WHERE {of_model} AND coalesce(current_stage, '') != 'Deleted_Internal'{only}",
        **values,
    )
    tags: dict[int, dict[str, str]] = {}
    for version, key, value in read(
        f"SELECT version, key, value FROM model_version_tags WHERE {of_model}{only}", **values
    ):
        tags.setdefault(int(version), {})[key] = value
    aliases: dict[int, list[str]] = {}
    for version, alias in read(f"SELECT version, alias FROM registered_model_aliases WHERE {of_model}{only}", **values):
        aliases.setdefault(int(version), []).append(alias)
    return [
        Entry(
            str(version),
            run_id or "",
            source,
            description or "",
            tags.get(int(version), {}),
            tuple(aliases.get(int(version), [])),
        )
        for version, run_id, source, description in rows
    ]


# --- REST -----------------------------------------------------------------------------------------------------------------


def _entry(found: Mapping[str, Any], aliases: Sequence[str] | None = None) -> Entry:
    return Entry(
        str(found["version"]),
        found.get("run_id", ""),
        found.get("source", ""),
        found.get("description", ""),
        {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])},
        tuple(found.get("aliases", []) if aliases is None else aliases),
    )


def _ask(workspace: Workspace, endpoint: str, **query: Any) -> Mapping[str, Any] | None:
    """Return the answer of an endpoint, or None if what it is asked about does not exist."""

    def parsed(body: Any) -> Mapping[str, Any]:
        answer = json.loads(body.read())
        if not isinstance(answer, dict):
            raise ValueError("the answer is no JSON object")
        return answer

    found: Mapping[str, Any] | None = _get(workspace, f"mlflow/{endpoint}?{urllib.parse.urlencode(query)}", parsed)
    return found


def _get(workspace: Workspace, path: str, read: Any) -> Any:
    """Return what `read` makes of the body at `/api/2.0/PATH`, or None if the server says that it does not exist."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    base = workspace.tracking_uri.rstrip("/")
    _require_no_own_settings()
    if "@" in urllib.parse.urlsplit(base).netloc or (Path.home() / ".mlflow" / "credentials").exists():
        raise ThroughMlflow
    request = urllib.request.Request(f"{base}/api/2.0/{path}", headers=_login())
    what = f"The tracking server {base}"
    try:
        return deadlines.within(partial(_tried, request, read), what, next_step=NEXT_STEP)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # mlflow may have a plugin that knows the login
            raise ThroughMlflow from error
        code, reason = _in_json(error)
        if code in ABSENT:
            return None
        raise Unreachable(f"{what} does not answer correctly: {reason}.", next_step=NEXT_STEP) from error
    except (ValueError, HTTPException) as error:
        reason = str(error)[:LONGEST_REASON].rstrip(".")
        raise Unreachable(f"{what} does not answer correctly: {reason}.", next_step=NEXT_STEP) from error
    except OSError as error:
        raise Unreachable(
            f"{what} does not answer ({getattr(error, 'reason', error)}).",
            next_step="Start it, or unset MLFLOW_TRACKING_URI to use the workspace's own store. "
            "Check MLFLOW_TRACKING_URI.",
        ) from error


def _tried(request: Request, read: Any) -> Any:
    """Return what `read` makes of the answer. Tries again after errors of an overloaded server."""
    import urllib.error
    import urllib.request

    each_s = deadlines.call_s() / deadlines.TRIES
    for attempt in range(deadlines.TRIES):
        try:
            with urllib.request.urlopen(request, timeout=each_s) as body:
                return read(body)
        except urllib.error.HTTPError as error:
            if attempt == deadlines.TRIES - 1 or error.code not in (429, 502, 503, 504):
                raise
        except TimeoutError:
            if attempt == deadlines.TRIES - 1:
                raise
        time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _login() -> dict[str, str]:
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _require_no_own_settings() -> None:
    if any(os.environ.get(name) for name in MLFLOW_ALONE):
        raise ThroughMlflow


def _in_json(error: HTTPError) -> tuple[str, str]:
    """Return MLflow's error code and message, or the status of another answer."""
    try:
        answer = json.loads(error.read())
        return str(answer["error_code"]), str(answer.get("message", ""))[:LONGEST_REASON].rstrip(".")
    except (ValueError, KeyError, TypeError, OSError):
        return "", f"HTTP status {error.code}"


def _save(path: Path, body: Any) -> None:
    with path.open("wb") as sink:
        shutil.copyfileobj(body, sink)
