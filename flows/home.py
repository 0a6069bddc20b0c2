"""Which Prefect a workspace uses: its own home and local server, or the one that `PREFECT_API_URL` names.

Call `use(workspace)` before the first import of prefect: it reads its settings from the environment at import.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from models.errors import BadData, Unreachable
from pipelines import deadlines
from pipelines.workspace import Workspace

PROBE_TIMEOUT_S = 10.0
_temporary: str | None = None  # API URL of the server that this process started for itself


def use(workspace: Workspace) -> str | None:
    """Point this process and its children at the workspace's Prefect; returns the server's API URL, None without one.

    Commands that run flows call `flows.local_server.for_one_command`, which starts a server where none runs. Raises
    Unreachable when `PREFECT_API_URL` names a server that does not answer.
    """
    home = workspace.state / "prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120"
    )  # the default gives up on busy machines
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the UI keeps every line
    # Prefect's own would be a minute for each of six tries, with pauses that double.
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", f"{deadlines.call_s() / deadlines.TRIES:.1f}")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", str(deadlines.TRIES - 1))
    chosen = os.environ.get("PREFECT_API_URL")
    if chosen:
        _require_prefect(chosen)
        return chosen
    url = running(workspace)
    if url:
        os.environ["PREFECT_API_URL"] = url
    return url


def _require_prefect(api_url: str) -> None:
    """Raise Unreachable unless a Prefect server is behind the address: others are healthy too."""
    try:
        with urllib.request.urlopen(f"{api_url}/admin/version", timeout=PROBE_TIMEOUT_S) as response:
            json.load(response)
    except (urllib.error.URLError, OSError, ValueError, HTTPException) as error:
        raise Unreachable(
            f"The Prefect server at {api_url} does not answer as it should: {getattr(error, 'reason', error)}.",
            next_step="Start it, or unset PREFECT_API_URL to use the workspace's own: defectloop deploy",
        ) from error


@contextlib.contextmanager
def reached() -> Iterator[None]:
    """Around a flow: a Prefect server that fails or dies meanwhile is Unreachable, not a defect of ours."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Unreachable(
            f"The Prefect server at {os.environ.get('PREFECT_API_URL')} stopped answering as it should: {error}.",
            next_step="What was done is kept. Check that server and its log, then run the same command again.",
        ) from error


def use_temporary(api_url: str) -> None:
    """Point this process at a server that ends with it."""
    global _temporary
    os.environ["PREFECT_API_URL"] = _temporary = api_url


def somebody_listens() -> bool:
    """Whether Prefect's server outlasts this command, so that what it is told can start something."""
    return os.environ.get("PREFECT_API_URL") not in (None, "", _temporary)


def running(workspace: Workspace) -> str | None:
    """API URL of the workspace's own server (`defectloop deploy`), None when none answers."""
    note = server_note(workspace)
    if not note.exists():
        return None
    try:
        url = str(json.loads(note.read_text(encoding="utf-8"))["api_url"])
    except (ValueError, TypeError, LookupError):  # damaged: the server that wrote it may run, and can't be found by it
        raise BadData(
            f"{note} is damaged: it should say where the workspace's Prefect server answers.",
            next_step="End `defectloop deploy` if it runs, delete the file, and start again.",
        ) from None
    return url if answers(url) else None


def server_note(workspace: Workspace) -> Path:
    return workspace.state / "prefect" / "server.json"


def answers(api_url: str, *, timeout_s: float = 3.0) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
