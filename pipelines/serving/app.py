"""The web application: routes, health, errors. It opens nothing; its service is opened and closed around it."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from pipelines.serving import description, errors, health, routes
from pipelines.serving.service import Service

DESCRIPTION = "Verdicts on images of parts. Every answer is in the ledger before it leaves."


def create(service: Service) -> FastAPI:
    app = FastAPI(
        title="defectloop",
        version=version("defectloop"),
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's page loads its scripts from the internet
        redoc_url=None,
    )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(description.page(app.openapi()), headers={"Content-Security-Policy": description.POLICY})

    app.include_router(health.router(service))
    app.include_router(routes.router(service))
    errors.add_to(app)
    return app
