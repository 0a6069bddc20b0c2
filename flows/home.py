"""Which Prefect server a workspace uses: its own local server, or the one that `PREFECT_API_URL` names.

Call `use(workspace)` before the first import of prefect, which reads its settings from the environment at import.
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
    """Configure Prefect for this process and its children. Returns the server's API URL, or None if no server runs.

    Commands that run flows call `flows.local_server.for_one_command`, which starts a server if none runs. Raises
    Unreachable if `PREFECT_API_URL` names a server that does not answer.
    """
    home = workspace.state / "prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120"
    )  # the default is too short on busy machines
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the UI still shows every line
    # Prefect's defaults are six attempts of a minute each, with growing pauses.
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
    """Raise Unreachable unless a Prefect server answers. `/health` alone is not enough: other servers have it too."""
    try:
        with urllib.request.urlopen(f"{api_url}/admin/version", timeout=PROBE_TIMEOUT_S) as response:
            json.load(response)
    except (urllib.error.URLError, OSError, ValueError, HTTPException) as error:
        raise Unreachable(
            f"The Prefect server at {api_url} does not answer correctly: {getattr(error, 'reason', error)}.",
            next_step="Start it, or unset PREFECT_API_URL to use the workspace's own server: defectloop deploy",
        ) from error


@contextlib.contextmanager
def reached() -> Iterator[None]:
    """Wrap a flow: if the Prefect server fails meanwhile, raise Unreachable instead of an unexpected error."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Unreachable(
            f"The Prefect server at {os.environ.get('PREFECT_API_URL')} stopped answering correctly: {error}.",
            next_step="Completed steps are kept. Check the server and its log, then run the same command again.",
        ) from error


def use_temporary(api_url: str) -> None:
    """Use a server that ends with this process."""
    global _temporary
    os.environ["PREFECT_API_URL"] = _temporary = api_url


def has_lasting_server() -> bool:
    """Return whether the Prefect server outlives this command, so that events sent to it can trigger flows."""
    return os.environ.get("PREFECT_API_URL") not in (None, "", _temporary)


def running(workspace: Workspace) -> str | None:
    """Return the API URL of the workspace's own server (`defectloop deploy`), or None if none answers."""
    note = server_note(workspace)
    if not note.exists():
        return None
    try:
        url = str(json.loads(note.read_text(encoding="utf-8"))["api_url"])
    except (ValueError, TypeError, LookupError):  # the server that wrote the file may still run, but can't be located
        raise BadData(
            f"{note} is damaged: it should contain the address of the workspace's Prefect server.",
            next_step="Stop `defectloop deploy` if it is running, delete the file, and start again.",
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
