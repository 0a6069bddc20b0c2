"""The body of a request, as far as it is accepted: not too large and not too slow, with or without a stated length."""

from __future__ import annotations

import asyncio
import time

from pipelines.serving.problem import Message, Problem, Receive, Send

# A body has this time, and more for what has arrived. Without a limit, a few clients could keep all connections.
GRACE_S = 20.0
SLOWEST_BYTES_PER_S = 16_384
_CLOSE = ((b"connection", b"close"),)


class Received:
    """`receive` and `send` for the application. `problem` is set when the body was refused; then nothing of what the
    application answers is sent."""

    def __init__(self, receive: Receive, send: Send, limit: int, declared: int | None) -> None:
        """Raises Problem if the declared length is too large."""
        self._receive, self._send, self._limit = receive, send, limit
        self._count, self._is_complete = 0, False
        self._since: float | None = None
        self.problem: Problem | None = None
        self.is_answered = False
        if declared is not None and declared > limit:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        if self.problem:
            return {"type": "http.disconnect"}
        self._since = self._since or time.monotonic()
        left_s = self._since + GRACE_S + self._count / SLOWEST_BYTES_PER_S - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                message = await self._receive()
        except TimeoutError:
            self.problem = Problem(408, "too_slow", "The request arrives too slowly.", "Send it again.", _CLOSE)
            return {"type": "http.disconnect"}
        self._count += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._count > self._limit:
            self.problem, self._is_complete = self._too_large(), False
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.problem and not self.is_answered:
            return
        self.is_answered = True
        await self._send(message)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "too_large",
            f"The request is larger than the limit of {self._limit >> 20} MB.",
            "Send a smaller image, or raise serve.limits.body_mb in service.yaml.",
        )
