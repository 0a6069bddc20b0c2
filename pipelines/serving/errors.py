"""How errors are answered: `{"error": {"code", "message", "next_step"}}` with a status that clients can act on."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from models.errors import BadInput, DefectloopError, NotReady, Unreachable
from pipelines.image_files.deleted_images import ImageDeleted

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1


class NotFound(DefectloopError):
    """The line, part or inspection does not exist."""


class SameKeyOtherImage(DefectloopError):
    """An idempotency key was used for another image, part or view."""


class Unreadable(DefectloopError):
    """The image cannot be decoded. It is stored as a rejection."""


class Overloaded(DefectloopError):
    """More requests wait than the service can answer in time."""


# The first class that fits decides.
STATUSES: tuple[tuple[type[DefectloopError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (SameKeyOtherImage, 409, "conflict"),
    (Unreadable, 422, "unreadable_image"),
    (Overloaded, 503, "overloaded"),
    (ImageDeleted, 410, "gone"),
    (NotReady, 503, "not_ready"),
    (Unreachable, 503, "unavailable"),
    (BadInput, 400, "bad_request"),
    (DefectloopError, 500, "error"),
)


def document(code: str, message: str, next_step: str = "") -> dict:
    return {"error": {"code": code, "message": message, "next_step": next_step}}


def answer(error: DefectloopError) -> JSONResponse:
    status, code = next((status, code) for kind, status, code in STATUSES if isinstance(error, kind))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return JSONResponse(document(code, error.message, error.next_step), status, headers)


def add_to(app: FastAPI) -> None:
    @app.exception_handler(DefectloopError)
    async def known(request: Request, error: DefectloopError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return JSONResponse(document("bad_request", f"{problems}.", "/docs lists the fields."), 400)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
        return JSONResponse(document(code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("An unexpected error in %s %s", request.method, request.url.path, exc_info=error)
        return JSONResponse(document("error", "An unexpected error; the service's log has its cause."), 500)
