"""How the service listens: TLS, and connections that are closed when nothing comes of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from models.errors import BadInput
from pipelines.serving.config import Serve, Tls
from pipelines.serving.problem import App

HEADERS_S = 10.0  # in which the head of a request has to arrive
KEEP_ALIVE_S = 75.0  # longer than the pauses of a usual line: a new TLS connection costs more than a verdict
CONNECTIONS = 500  # of the 1,024 open files that a process usually may have
HEAD_BYTES = 32_768
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_config(app: App, serve: Serve, root: Path, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration. Paths of TLS files are relative to `root`. Raises BadInput for bad TLS files."""
    context = tls_context(serve.tls, root) if serve.tls else None
    factory: Callable[..., ssl.SSLContext] | None = (lambda *_: context) if context else None  # type: ignore[return-value]
    settings: dict[str, Any] = {
        "host": serve.host,
        "port": serve.port,
        "http": PatientProtocol,
        "ws": "none",
        "ssl_context_factory": factory,
        "timeout_keep_alive": int(KEEP_ALIVE_S),
        "limit_concurrency": CONNECTIONS,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "access_log": False,  # it would hold the names of parts; refused requests are logged by `refusals`
        "server_header": False,
        "proxy_headers": False,  # anyone on this host could state another address
        "log_config": None,
    }
    return uvicorn.Config(app, **(settings | more))


def tls_context(tls: Tls, root: Path) -> ssl.SSLContext:
    """Raises BadInput for files that are absent or do not fit each other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimum_version]
    for path in (tls.certificate, tls.key, tls.client_ca):
        if path and not (root / path).is_file():
            raise BadInput(
                f"{root / path} of serve.tls does not exist.", next_step="Correct serve.tls in service.yaml."
            )
    try:
        context.load_cert_chain(root / tls.certificate, root / tls.key, password=_refused)
        if tls.client_ca:
            context.load_verify_locations(root / tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError, ValueError) as error:
        raise BadInput(
            f"The files of serve.tls cannot be used: {error}.",
            next_step="Give a certificate, its own unencrypted key, and CA certificates, all in PEM format.",
        ) from error
    return context


def _refused() -> str:
    """OpenSSL would ask for the password of an encrypted key on the terminal."""
    raise ValueError("the key is encrypted")


_Protocol: Any = object  # one of uvicorn's protocols, with which `_Patience` is combined


class _Patience(_Protocol):
    """uvicorn's protocol, with limits of time and size for the head of a request.

    The callbacks of the parser belong to httptools. Without it, uvicorn uses h11, which has none and limits the size itself.
    """

    _due: asyncio.TimerHandle | None = None
    _counts_heads = True
    _is_in_head = True
    _heads = _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._due = self.loop.call_later(HEADERS_S, transport.close)

    def data_received(self, data: bytes) -> None:
        before = self._heads if self._is_in_head else None
        super().data_received(data)
        is_same_head = self._counts_heads and self._is_in_head and self._heads == before
        self._head_bytes = self._head_bytes + len(data) if is_same_head else 0
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._due is None:
            self._due = self.loop.call_later(HEADERS_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._heads += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class PatientH11(_Patience, H11Protocol):  # type: ignore[misc]
    _counts_heads = False


PatientProtocol: type[asyncio.Protocol]
if AutoHTTPProtocol is H11Protocol:
    PatientProtocol = PatientH11
else:

    class PatientHttpTools(_Patience, AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        pass

    PatientProtocol = PatientHttpTools
