"""A refusal as the service answers it, and the types of ASGI."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Problem(Exception):
    def __init__(
        self, status: int, code: str, message: str, next_step: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.next_step, self.headers = status, code, message, next_step, headers

    def body(self) -> bytes:
        said = {"code": self.code, "message": self.message, "next_step": self.next_step}
        return json.dumps({"error": said}).encode()
