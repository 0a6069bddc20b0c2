"""A small HTTP server with the service's API, which tests can kill, restart, and tell to misbehave.

An image begins with `img`; it fails if it contains `scratch`. What was inspected outlives `kill`, as a ledger does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LINE = "widgets"
KEY = "key-of-a-station"
GOOD, SCRATCHED = b"img good", b"img scratch"


@dataclass
class StandIn:
    """The service. `faults` are used up by inspections, one each: 429, 500, 503, `garbage`, `slow`, `lost` (the inspection
    is stored, and the connection breaks before the answer)."""

    port: int = 0
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by idempotency key
    received: list[str] = field(default_factory=list)  # keys, every attempt
    faults: list[str] = field(default_factory=list)
    retry_after: str = "0"
    _server: ThreadingHTTPServer | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inspections(self) -> list[dict[str, Any]]:
        return list(self.rows.values())

    def start(self) -> None:
        self._server = _Server(self, self.port)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def kill(self) -> None:
        """Break every connection and refuse new ones."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server = None

    def inspect(self, key: str, data: bytes, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            image = hashlib.sha256(data).hexdigest()
            if not data.startswith(b"img"):
                return 422, refusal("unreadable_image", "The bytes cannot be decoded.", "Take the picture again.")
            if key in self.rows:
                row = self.rows[key]
                if row["image"] != image:
                    return 409, refusal("conflict", f"Request {key} was for another image.", "Use a unique id.")
                return 200, row | {"repeated": True}
            number = len(self.rows) + 1
            part = asked.get("part", f"image-{image[:16]}")
            here = f"/v1/lines/{LINE}/inspections/{number}"
            self.rows[key] = {
                "inspection": number,
                "line": LINE,
                "part": part,
                "view": asked.get("view"),
                "slice": asked.get("slice"),
                "verdict": "fail" if b"scratch" in data else "pass",
                "score": 0.98765 if b"scratch" in data else 0.01234,
                "class_probabilities": {},
                "regions": [],
                "model_version": "2",
                "image": image,
                "captured_at": asked.get("captured_at"),
                "inspected_at": f"2026-11-30T12:00:{number % 60:02}+00:00",
                "latency_ms": 7.1,
                "repeated": False,
                "links": {"self": here, "heatmap": f"{here}/heatmap.png", "image": f"{here}/image"},
            }
            return 201, self.rows[key]


def refusal(code: str, message: str, next_step: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "next_step": next_step}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, service: StandIn, port: int) -> None:
        self.service = service
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, address: Any) -> None:
        pass  # the client has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.service._open.add(self.connection)

    def finish(self) -> None:
        self.server.service._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service, (path, asked) = self.server.service, self._asked()
        if self._locked_out():
            return
        if path[-1] == "complete":
            self._send(200, self._part(path[-2]) | {"complete": True})
            return
        key = self.headers["Idempotency-Key"]
        service.received.append(key)
        fault = service.faults.pop(0) if service.faults else ""
        if fault in ("429", "500", "503"):
            self._send(int(fault), refusal("busy", "Too much to do."), {"Retry-After": service.retry_after})
        elif fault == "garbage":
            self._raw(200, b"<html>Sign in</html>", "text/html")
        elif fault == "lost":
            service.inspect(key, body, asked)
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            if fault == "slow":
                time.sleep(0.6)
            self._send(*service.inspect(key, body, asked))

    def do_GET(self) -> None:
        service, (path, asked) = self.server.service, self._asked()
        if path == ["readyz"]:
            self._send(503, {"ready": False, "lines": {LINE: {"model_version": None}}})
        elif self._locked_out():
            return
        elif path[2] != LINE:
            self._send(404, refusal("unknown_line", f"There is no line {path[2]}.", f"Lines: {LINE}."))
        elif path[3] == "parts":
            self._send(200, self._part(path[4]))
        elif path[-1] == "heatmap.png":
            self._raw(200, b"\x89PNG heat", "image/png")
        elif len(path) == 5:
            self._send(200, service.inspections[int(path[4]) - 1])
        else:
            newest = service.inspections[::-1]
            start, limit = int(asked.get("cursor", 0)), int(asked.get("limit", 100))
            rest = newest[start : start + limit]
            self._send(200, {"inspections": rest, "next": str(start + limit) if start + limit < len(newest) else None})

    def _part(self, part: str) -> dict[str, Any]:
        views = [row for row in self.server.service.inspections if row["part"] == part]
        worst = max(views, key=lambda row: row["score"])
        return {
            "part": part,
            "verdict": worst["verdict"],
            "score": worst["score"],
            "complete": False,
            "views": [{name: row[name] for name in ("view", "inspection", "verdict", "score")} for row in views],
            "missing": [],
        }

    def _asked(self) -> tuple[list[str], dict[str, str]]:
        url = urlsplit(self.path)
        path = [unquote(one) for one in url.path.strip("/").split("/")]
        return path, {name: values[0] for name, values in parse_qs(url.query).items()}

    def _locked_out(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {KEY}":
            return False
        self._send(401, refusal("no_key", "This service needs a key."))
        return True

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json", headers)

    def _raw(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def running() -> Iterator[StandIn]:
    service = StandIn()
    service.start()
    try:
        yield service
    finally:
        if service._server is not None:
            service.kill()
