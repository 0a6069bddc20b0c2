"""Refused requests: each is counted, and logged as one line that contains no key and no query string."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily

from pipelines.serving.keys import FOUND_KEY, Key
from pipelines.serving.rate_limits import TokenBuckets

log = logging.getLogger(__name__)

LONGEST_PATH = 200  # characters in the log
LINES_PER_S, LINES_AT_ONCE = 20, 200  # a flood of requests must not fill the disk


class Refusals:
    """A collector for `prometheus_client`: `registry.register(refusals)`."""

    def __init__(self) -> None:
        self.count: Counter[tuple[int, str]] = Counter()  # by status and code
        self._lines = TokenBuckets(LINES_PER_S, LINES_AT_ONCE)
        self._not_logged = 0

    def add(self, scope: Any, status: int, code: str, key: Key | None = None) -> None:
        self.count[status, code] += 1
        if self._lines.wait_s("lines"):
            self._not_logged += 1
            return
        if self._not_logged:
            log.warning("%d more refused requests were not logged one by one.", self._not_logged)
            self._not_logged = 0
        who = f"key {key.id} ({key.name})" if key else "no valid key"
        client = scope.get("client") or ("an unknown address",)
        log.warning("Refused %d %s: %s %s from %s, %s.", status, code, *_asked(scope), client[0], who)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "defectloop_refused_requests", "Requests refused before they reached a line.", labels=["status", "code"]
        )
        for (status, code), count in sorted(self.count.items()):
            family.add_metric([str(status), code], count)
        yield family


def _asked(scope: Any) -> tuple[str, str]:
    """Return method and path, printable and without any key."""
    path = bytes(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape"))
    text = path[: 4 * LONGEST_PATH].decode("ascii", "backslashreplace")
    printable = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return str(scope.get("method", "?"))[:20], FOUND_KEY.sub("dlk_***", printable)[:LONGEST_PATH]
