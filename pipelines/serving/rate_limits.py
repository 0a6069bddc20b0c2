"""Token buckets: so many requests per second, and so many at once after a pause."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST = 10_000  # buckets; the least recently used one is full again long before it is forgotten


class TokenBuckets:
    """One bucket for each name. For one thread, as the event loop is."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, float(burst), clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait_s(self, name: Hashable) -> float:
        """Take a token and return 0, or return the seconds after which there will be one."""
        now = self._clock()
        tokens, at = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        taken = tokens >= 1
        self._buckets[name] = (tokens - taken, now)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self._per_second
