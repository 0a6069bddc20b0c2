"""The web application: routes, health, errors. It opens nothing; its service is opened and closed around it."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from pipelines.serving import errors, health, routes
from pipelines.serving.service import Service

DESCRIPTION = "Verdicts on images of parts. Every answer is in the ledger before it leaves."


def create(service: Service) -> FastAPI:
    app = FastAPI(
        title="defectloop",
        version=version("defectloop"),
        description=DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
    )
    app.include_router(health.router(service))
    app.include_router(routes.router(service))
    errors.add_to(app)
    return app
