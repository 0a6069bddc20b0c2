"""Is the process alive, can it inspect, and what does Prometheus read. These need no key and name no part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from pipelines.ledger import drift_checks
from pipelines.serving.engine import LineEngine
from pipelines.serving.service import Service


def router(service: Service) -> APIRouter:
    api = APIRouter(tags=["health"])
    service.measures.registry.register(_Gauges(service))

    @api.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/readyz", summary="Whether every line has a champion, and what is wrong", responses={503: {}})
    async def readyz() -> Response:
        lines = {name: _state(engine) for name, engine in service.lines.items()}
        ready = all(line["model_version"] for line in lines.values())
        return JSONResponse({"ready": ready, "lines": lines}, 200 if ready else 503)

    @api.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(generate_latest(service.measures.registry), media_type=CONTENT_TYPE_LATEST)

    return api


def _state(engine: LineEngine) -> dict[str, Any]:
    state, waiting = engine.champions.state, engine.images.waiting()
    return {
        "model_version": state.champion.version if state.champion else None,
        "challenger": state.challenger.version if state.challenger else None,
        "registry": state.problem or "ok",
        "image_store": waiting.problem or "ok",
        "images_waiting": waiting.images,
    }


class _Gauges:
    """Values that are read when Prometheus asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        queue = GaugeMetricFamily("defectloop_waiting_requests", "Requests in the service.", labels=["line"])
        images = GaugeMetricFamily("defectloop_spooled_images", "Images that wait for the store.", labels=["line"])
        size = GaugeMetricFamily("defectloop_spooled_bytes", "Their size.", labels=["line"])
        version = GaugeMetricFamily("defectloop_model_version", "1 for the champion.", labels=["line", "model_version"])
        registry = GaugeMetricFamily("defectloop_registry_up", "0 while it does not answer.", labels=["line"])
        drift = GaugeMetricFamily(
            "defectloop_drifted_share", "Share of descriptors that shifted, in the last check.", labels=["line"]
        )
        skipped = GaugeMetricFamily(
            "defectloop_shadow_skipped", "Images the challenger had no time for.", labels=["line"]
        )
        for line, engine in self._service.lines.items():
            waiting, state = engine.images.waiting(), engine.champions.state
            queue.add_metric([line], self._service.waiting(line))
            images.add_metric([line], waiting.images)
            size.add_metric([line], waiting.bytes)
            registry.add_metric([line], 0 if state.problem else 1)
            if state.champion:
                version.add_metric([line, state.champion.version], 1)
            if engine.shadow:
                skipped.add_metric([line], engine.shadow.skipped)
            check = drift_checks.latest(engine.ledger, line)
            if check is not None:
                drift.add_metric([line], check.share_drifted)
        yield from (queue, images, size, version, registry, drift, skipped)

    def describe(self) -> list[Metric]:
        return []
