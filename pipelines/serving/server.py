"""Runs the service in uvicorn: one process, one event loop, and threads for the work."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

import uvicorn

from models.errors import Busy
from pipelines import service_file
from pipelines.serving import app, keys
from pipelines.serving.access import Access
from pipelines.serving.config import Serve
from pipelines.serving.listening import server_config, tls_context
from pipelines.serving.refusals import Refusals
from pipelines.serving.service import Service
from pipelines.workspace import Workspace

GRACE_S = 30  # accepted requests have this time to finish after a signal to stop


def settings(workspace: Workspace, host: str | None = None, port: int | None = None) -> Serve:
    """Return section `serve` of the workspace's service.yaml, with the given address. Raises BadInput."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    serve = service_file.section(workspace.root, "serve", Serve, given)
    if serve.tls:
        tls_context(serve.tls, workspace.root)
    return serve


@contextlib.contextmanager
def listening(settings: Serve) -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening socket and its URL, so that a taken port is noticed before anything is loaded. Raises Busy."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise Busy(
                f"The service cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
                next_step="Stop what listens there, or choose another --port.",
            ) from error
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield listener, f"http{'s' if settings.tls else ''}://{host}:{listener.getsockname()[1]}"


def run(workspaces: Sequence[Workspace], settings: Serve, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with Service(workspaces, settings) as service:
        refusals = Refusals()
        service.measures.registry.register(refusals)
        door = Access(app.create(service), keys.KeyRing(keys.folder(workspaces[0])), settings, refusals)
        config = server_config(door, settings, workspaces[0].root, timeout_graceful_shutdown=GRACE_S)
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
