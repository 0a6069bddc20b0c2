"""Decides before the application sees a request: the host's name, the key, its rate, its role and lines, the body's size.

Pure ASGI, because a middleware of Starlette's would cost each verdict a task and a queue. The key of a request that goes
on is in `scope["state"]["key"]` (`request.state.key`).
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket

from pipelines.serving.config import Serve
from pipelines.serving.keys import FOUND_KEY, Key, KeyRing, Permission
from pipelines.serving.problem import App, Message, Problem, Receive, Scope, Send
from pipelines.serving.rate_limits import TokenBuckets
from pipelines.serving.received import Received
from pipelines.serving.refusals import Refusals

OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
SAFE = frozenset({"GET", "HEAD"})
_OF_LINE = re.compile(r"/v1/lines/([^/]+)(?:/(.*))?", re.DOTALL)
_INSPECTS = re.compile(r"inspections|parts/.+/complete", re.DOTALL)
_REVIEWS = re.compile(r"reviews(/.*)?|(inspections|parts)/.+/reviews?", re.DOTALL)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_NO_STORE = (b"cache-control", b"no-store")


def required(method: str, path: str) -> tuple[Permission, str | None]:
    """Return what a request needs and, if it concerns one, its line. Whatever is not known here needs the most."""
    found = _OF_LINE.fullmatch(path)
    if not found:
        reads = method in SAFE and not path.startswith("/v1/keys")
        return (Permission.READ if reads else Permission.ADMINISTER), None
    line, rest = found[1], found[2] or ""
    if method in SAFE:
        return Permission.READ, line
    if method == "POST" and _INSPECTS.fullmatch(rest):
        return Permission.INSPECT, line
    if method == "POST" and _REVIEWS.fullmatch(rest):
        return Permission.REVIEW, line
    return Permission.OPERATE, line


class Access:
    """The middleware. `refusals` counts what it turned away."""

    def __init__(self, app: App, keys: KeyRing, serve: Serve, refusals: Refusals) -> None:
        self.app, self.keys, self.refusals = app, keys, refusals
        limits = serve.limits
        self._body_limit = limits.body_mb << 20
        self._of_key = TokenBuckets(limits.requests_per_second, limits.burst)
        self._failed = TokenBuckets(limits.failed_per_minute / 60, limits.failed_per_minute)
        here = ("localhost", socket.gethostname(), socket.getfqdn(), serve.host, *serve.names)
        self._names = frozenset(name.lower() for name in here)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        secured = _secured(scope, send)
        key = None
        try:
            self._require_known_host(scope)
            if not (scope["path"] in OPEN and scope["method"] in SAFE):
                key = self._authenticated(scope)
                self._require_rate(key)
                self._require_permission(scope, key)
                scope.setdefault("state", {})["key"] = key
            received = Received(receive, secured, self._body_limit, _declared_length(scope))
        except Problem as problem:
            self.refusals.add(scope, problem.status, problem.code, key)
            await _answer(secured, problem)
            return
        try:
            await self.app(scope, received.receive, received.send)
        except Exception:  # the application was told that the client is gone
            if received.problem is None:
                raise
        if late := received.problem:
            self.refusals.add(scope, late.status, late.code, key)
            if not received.is_answered:
                await _answer(secured, late)

    def _require_known_host(self, scope: Scope) -> None:
        """Refuse unknown names: a web page can make its name point here, and a browser would read the answers to it."""
        stated = [value for name, value in scope["headers"] if name == b"host"]
        host = stated[0].decode("latin-1").lower() if len(stated) == 1 else ""
        name = host[1 : host.find("]")] if host.startswith("[") else host.rpartition(":")[0] or host
        if name.rstrip(".") not in self._names and not _is_address(name):
            raise Problem(
                400,
                "unknown_host",
                "The service is not known under the name in this request's Host header.",
                "Use its address, or add the name to serve.names in service.yaml.",
            )

    def _authenticated(self, scope: Scope) -> Key:
        stated = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, text = (stated[0] if len(stated) == 1 else b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and (key := self.keys.valid(text.strip())):
            return key
        client = scope.get("client") or ("",)
        if wait_s := self._failed.wait_s(client[0]):
            raise _too_many("Too many requests without a valid key came from this address.", wait_s)
        if FOUND_KEY.search(scope.get("query_string", b"").decode("latin-1")):
            raise _unauthorised(
                "The address contains a key. Addresses are written to logs, so that key is no secret any more.",
                "Revoke it, and send the new one in the header Authorization: Bearer KEY.",
            )
        raise _unauthorised(
            "The request has no valid key: it is missing, unknown, expired or revoked.",
            "Send the header Authorization: Bearer KEY. Create a key with: defectloop keys create",
        )

    def _require_rate(self, key: Key) -> None:
        if wait_s := self._of_key.wait_s(key.id):
            raise _too_many("Too many requests came with this key.", wait_s)

    def _require_permission(self, scope: Scope, key: Key) -> None:
        permission, line = required(scope["method"], scope["path"])
        if not key.may(permission):
            raise Problem(
                403,
                "role",
                f"A key of the role {key.role} may not do this.",
                "Use a key of another role; docs/service.md lists what each may do.",
            )
        if line is not None and not key.reaches(line):
            raise Problem(403, "line", "This key is not for this line.", "Use a key that was created with this line.")


def _secured(scope: Scope, send: Send) -> Send:
    """Return `send` with headers for browsers on every answer. What the application sets itself stays."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name.lower(): value for name, value in headers}
            wanted = [*_HEADERS]
            if scope.get("scheme") == "https":
                wanted.append(_HSTS)
            if present.get(b"content-type", b"application/json").startswith(b"application/json"):
                wanted.append(_NO_STORE)
            headers += [(name, value) for name, value in wanted if name not in present]
            message = {**message, "headers": headers}
        await send(message)

    return with_headers


async def _answer(send: Send, problem: Problem) -> None:
    body = problem.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *problem.headers,
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _declared_length(scope: Scope) -> int | None:
    stated = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(stated[0]) if stated and stated[0].isdigit() else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _unauthorised(message: str, next_step: str) -> Problem:
    return Problem(401, "no_key", message, next_step, ((b"www-authenticate", b'Bearer realm="defectloop"'),))


def _too_many(message: str, wait_s: float) -> Problem:
    after = (b"retry-after", str(math.ceil(wait_s)).encode())
    return Problem(429, "too_many_requests", message, f"Send the next one after {math.ceil(wait_s)} s.", (after,))
