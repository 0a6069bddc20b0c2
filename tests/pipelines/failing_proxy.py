"""An HTTP proxy that lets so many objects through and then does what remotes do on a bad day."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class FailingProxy:
    """In front of `endpoint`. Counts requests of `method` for objects of DVC; from the `allowed`-th on, `mode` happens:
    `drop` (the connection breaks off), `error` (500) or `hang` (no answer). `allowed` None lets everything through.
    A client that tries the same object again (on a busy machine an answer can come after its patience) passes again
    and counts once; `heal` and `fail` begin a new count, so that an object sent by two calls is seen."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = urlsplit(endpoint)
        self.method, self.mode = "PUT", "drop"
        self.allowed: int | None = None
        self.passed: list[str] = []  # paths of the objects that were let through, in order
        self.released = threading.Event()
        self._guard = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                proxy._handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fail(self, method: str, mode: str, after: int) -> None:
        self.method, self.mode, self.allowed = method, mode, after
        self.passed.clear()

    def heal(self, method: str) -> None:
        self.method, self.allowed = method, None
        self.passed.clear()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = request.path.split("?")[0]
        counted = request.command == self.method and "/files/md5/" in path
        with self._guard:
            counted = counted and path not in self.passed
            broken = counted and self.allowed is not None and len(self.passed) >= self.allowed
            if counted and not broken:
                self.passed.append(path)
        if broken and self.mode == "hang":
            self.released.wait(120)
        if broken and self.mode in ("hang", "drop"):
            request.close_connection = True
            request.connection.close()
            return
        if broken:
            request.send_response(500)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        upstream = http.client.HTTPConnection(self.endpoint.hostname or "", self.endpoint.port, timeout=60)
        upstream.request(request.command, request.path, body=body, headers=dict(request.headers))
        answer = upstream.getresponse()
        content = answer.read()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                request.send_header(name, value)
        length = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(content))
        request.send_header("Content-Length", length or "0")
        request.end_headers()
        request.wfile.write(content)
        upstream.close()
