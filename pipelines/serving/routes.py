"""The routes of the API below /v1. Each reads a request, lets an engine work, and writes the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from models import names
from models.errors import BadInput
from models.vocabulary import Verdict
from pipelines.inspection.judging import Conflict, Production, Rejected
from pipelines.ledger.search import LARGEST, Filters
from pipelines.serving import documents, lookups, schemas
from pipelines.serving.errors import SameKeyOtherImage, Unreadable
from pipelines.serving.service import Service

T = TypeVar("T")
SOURCE = "service"
PNG = {"content": {"image/png": {}}, "description": "The picture."}


def router(service: Service) -> APIRouter:
    api = APIRouter(prefix="/v1/lines/{line}", responses=schemas.ERRORS)

    async def run(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run blocking work in the service's threads."""
        return await asyncio.get_running_loop().run_in_executor(service.workers, partial(work, *arguments, **named))

    @api.post(
        "/inspections",
        status_code=201,
        response_model=schemas.Inspection,
        responses=schemas.INSPECTED,
        openapi_extra=schemas.IMAGE_BODY,
        summary="Inspect an image",
        tags=["inspections"],
    )
    async def inspect(
        line: str,
        request: Request,
        part: Annotated[
            str | None, Query(description="Serial number of the part; default: named after the bytes.")
        ] = None,
        view: Annotated[str | None, Query(description="Side, light or station.")] = None,
        slice: Annotated[str | None, Query(description="Material, recipe or camera.")] = None,
        captured_at: Annotated[datetime | None, Query(description="ISO 8601; UTC if no zone is given.")] = None,
        file_name: Annotated[str | None, Query(description="As people know it.")] = None,
        idempotency_key: Annotated[
            str | None, Header(description="Unique per request. Sending it again gives the stored answer.")
        ] = None,
    ) -> Response:
        """The record is committed and the image durable before the answer leaves."""
        began = time.perf_counter()
        engine = service.line(line)
        with service.place(line):
            data, fields = await _image(request)
            stated = {"part": part, "view": view, "slice": slice, "file_name": file_name} | fields
            item = _production(data, stated, captured_at, idempotency_key)
            answer = await run(engine.inspect, item, SOURCE)
        service.measures.observe(line, "total", time.perf_counter() - began)
        if isinstance(answer, Conflict):
            raise SameKeyOtherImage(answer.reason, next_step="Use a new Idempotency-Key for every image.")
        if isinstance(answer, Rejected):
            raise Unreadable(
                f"Part {answer.record.part}: {answer.record.reason} It is stored as rejection {answer.record.id}.",
                next_step="Take the picture again.",
            )
        document = documents.inspection(answer.record, repeated=answer.repeated)
        return JSONResponse(document, 200 if answer.repeated else 201)

    @api.get("/inspections", response_model=schemas.Page, summary="Search, newest first", tags=["inspections"])
    async def search(
        line: str,
        part: str | None = None,
        since: Annotated[datetime | None, Query(description="Inspected then or later; ISO 8601.")] = None,
        until: Annotated[datetime | None, Query(description="Inspected before.")] = None,
        verdict: Verdict | None = None,
        model_version: str | None = None,
        slice: str | None = None,
        cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST)] = 50,
    ) -> Response:
        """A page may be short, or empty, and have a `next`: go on until it is null."""
        filters = Filters(part, lookups.in_utc(since), lookups.in_utc(until), verdict, model_version, slice)
        found = await run(lookups.search, service.line(line), filters, cursor, limit)
        page = [documents.inspection(record) for record in found.inspections]
        return JSONResponse({"inspections": page, "next": found.next})

    @api.get("/inspections/{inspection}", response_model=schemas.Inspection, tags=["inspections"])
    async def one_inspection(line: str, inspection: schemas.Number) -> Response:
        return JSONResponse(documents.inspection(await run(lookups.inspection, service.line(line), inspection)))

    @api.get("/inspections/{inspection}/image", response_class=Response, tags=["inspections"])
    async def image(line: str, inspection: schemas.Number) -> Response:
        """The original bytes."""
        data, media_type = await run(lookups.image, service.line(line), inspection)
        return Response(data, media_type=media_type)

    @api.get(
        "/inspections/{inspection}/heatmap.png", response_class=Response, responses={200: PNG}, tags=["inspections"]
    )
    async def heatmap(line: str, inspection: schemas.Number) -> Response:
        """The image with the heatmap of the version that gave the verdict."""
        return Response(await run(lookups.heatmap, service.line(line), inspection), media_type="image/png")

    @api.get("/parts/{part:path}", response_model=schemas.Part, tags=["parts"])
    async def one_part(line: str, part: str) -> Response:
        """The verdict on a part from all its views, and which views are missing."""
        return JSONResponse(documents.part(line, await run(lookups.part, service.line(line), part)))

    @api.post("/parts/{part:path}/complete", response_model=schemas.Part, tags=["parts"])
    async def complete(line: str, part: str, declared: Annotated[schemas.Complete | None, Body()] = None) -> Response:
        """Declare that all views were sent. With missing views, the part goes to review instead of passing."""
        names.require(part, "The part")
        views = declared.views if declared else None
        return JSONResponse(documents.part(line, await run(lookups.complete, service.line(line), part, views)))

    return api


async def _image(request: Request) -> tuple[bytes, dict[str, str]]:
    """Return the image's bytes, and the fields of a form. Raises BadInput."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        if not (data := await request.body()):
            raise BadInput("The request has no image.", next_step="curl --data-binary @part.png …")
        return data, {}
    try:
        async with request.form(max_files=1, max_fields=16) as form:
            sent = form.get("image")
            if sent is None or isinstance(sent, str):
                raise BadInput("The form has no file named image.", next_step="curl -F image=@part.png …")
            fields = {name: str(value) for name, value in form.items() if name in schemas.FORM_FIELDS}
            return await sent.read(), fields
    except (BadInput, ClientDisconnect):
        raise
    except Exception as error:  # the parser's errors have no common class
        raise BadInput(f"The form cannot be read: {error}.", next_step="Send multipart/form-data.") from error


def _production(
    data: bytes, stated: dict[str, str | None], captured_at: datetime | None, key: str | None
) -> Production:
    if "captured_at" in stated:
        captured_at = _moment(stated["captured_at"] or "")
    for what in ("part", "view", "slice"):
        names.require(stated.get(what), f"The {what}")
    if stated.get("file_name"):
        stated["file_name"] = names.shown(stated["file_name"] or "")[: names.LONGEST]
    names.require(key, "The Idempotency-Key")
    return Production(
        read=lambda: data,
        part=stated.get("part"),
        view=stated.get("view"),
        slice=stated.get("slice"),
        file_name=stated.get("file_name"),
        captured_at=lookups.in_utc(captured_at),
        request_id=key,
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"captured_at: {error}.", next_step="Write it like 2026-11-30T08:15:00Z.") from error
