"""A server that says it is healthy and fails at everything else, as servers do on a bad day."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODES = ("error", "page", "silence", "half")  # 500, a login page, no answer, an answer that breaks off
PAGE = b"<!doctype html><title>Sign in</title><p>Please sign in to go on."


@contextmanager
def faulty_server(mode: str) -> Iterator[str]:
    """Its URL. `/health` answers, at whatever depth."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/health"):
                self._answer(200, "application/json", b"true", 4)
            elif mode == "error":
                self._answer(500, "text/plain", b"Internal Server Error", 21)
            elif mode == "page":
                self._answer(200, "text/html", PAGE, len(PAGE))
            elif mode == "half":
                self._answer(200, "application/json", b'{"half": ', 1000)
                self.close_connection = True
            else:
                released.wait(600)

        def _answer(self, status: int, kind: str, body: bytes, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = do_DELETE = _handle

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
