"""What the service counts and times, for Prometheus."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from pipelines.ledger.tables import Inspection

BUCKETS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5, 10)


class Measures:
    """Counters and histograms of one process, in a registry of their own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "defectloop_stage_seconds",
            "Time of one stage of an inspection: queue, decode, judge (with both), store, commit, total.",
            ("line", "stage"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._verdicts = Counter(
            "defectloop_verdicts_total",
            "Verdicts by line and version.",
            ("line", "verdict", "model_version"),
            registry=self.registry,
        )
        self.rejected = Counter(
            "defectloop_rejected_images_total", "Images that could not be decoded.", ("line",), registry=self.registry
        )
        self.overloaded = Counter(
            "defectloop_overloaded_total",
            "Requests answered with 503 because too many waited.",
            ("line",),
            registry=self.registry,
        )

    @contextlib.contextmanager
    def timed(self, line: str, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(line, stage, time.perf_counter() - began)

    def observe(self, line: str, stage: str, seconds: float) -> None:
        self._stages.labels(line, stage).observe(seconds)

    def verdict(self, line: str, record: Inspection) -> None:
        self._verdicts.labels(line, record.verdict, record.model_version).inc()
