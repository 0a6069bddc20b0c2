"""The API's documents as types, for its OpenAPI description. Answers are written from records, so these cost no time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from models.vocabulary import Verdict

LARGEST_ID = 2**63 - 1
FORM_FIELDS = ("part", "view", "slice", "captured_at", "file_name")
Number = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Number of the inspection.")]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class Region(BaseModel):
    model_config = ConfigDict(extra="allow")


class Links(BaseModel):
    self: str
    heatmap: str
    image: str
    part: str


class Inspection(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inspection": 17,
                "line": "bottling-3",
                "part": "B-2041",
                "view": "top",
                "slice": "clear-glass",
                "verdict": "fail",
                "score": 0.9731,
                "class_probabilities": {"crack": 0.96, "chip": 0.04},
                "regions": [{"x": 120, "y": 48, "width": 30, "height": 22, "score": 0.91}],
                "model_version": "2",
                "image": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
                "file_name": None,
                "captured_at": "2026-11-30T08:15:00+00:00",
                "inspected_at": "2026-11-30T08:15:00.112000+00:00",
                "latency_ms": 7.1,
                "repeated": False,
                "links": {
                    "self": "/v1/lines/bottling-3/inspections/17",
                    "heatmap": "/v1/lines/bottling-3/inspections/17/heatmap.png",
                    "image": "/v1/lines/bottling-3/inspections/17/image",
                    "part": "/v1/lines/bottling-3/parts/B-2041",
                },
            }
        }
    )
    inspection: int
    line: str
    part: str
    view: str | None
    slice: str | None
    verdict: Verdict
    score: float = Field(description="Calibrated probability that the part is defective.")
    class_probabilities: dict[str, float]
    regions: list[Region]
    model_version: str
    image: str = Field(description="SHA-256 of the bytes.")
    file_name: str | None
    captured_at: datetime | None
    inspected_at: datetime
    latency_ms: float = Field(description="From the bytes to the verdict, without waiting and storing.")
    repeated: bool | None = Field(default=None, description="Whether the request had been answered before.")
    links: Links


class Page(BaseModel):
    inspections: list[Inspection]
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class View(BaseModel):
    view: str | None
    inspection: int
    verdict: Verdict
    score: float


class Part(BaseModel):
    line: str
    part: str
    verdict: Verdict | None = Field(description="null while views are missing and none of those that came is bad.")
    score: float | None
    complete: bool | None = Field(description="null if nobody said how many views the part has.")
    missing: list[str]
    unreadable: int
    views: list[View]


class Complete(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"views": ["top", "left"]}})
    views: Annotated[int, Field(ge=1, le=1000)] | Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = (
        None
    )


class Problem(BaseModel):
    code: str
    message: str
    next_step: str


class Error(BaseModel):
    error: Problem


def _error(text: str) -> dict[str, Any]:
    return {"model": Error, "description": text}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("A field is invalid; the message names it."),
    401: _error("The API key is missing or unknown."),
    403: _error("The key's role or lines do not allow this."),
    404: _error("The line, part or inspection does not exist."),
    429: _error("Too many requests of this key; Retry-After says when to try again."),
    503: _error("The service can't answer now; Retry-After says when to try again."),
}
INSPECTED: dict[int | str, dict[str, Any]] = {
    200: {"model": Inspection, "description": "The request had been answered before; this is the stored answer."},
    409: _error("The idempotency key was used for another image, part or view."),
    413: _error("The image is too large."),
    422: _error("The image cannot be decoded. It is stored as a rejection."),
}
_BYTES = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": _BYTES} for kind in ("application/octet-stream", "image/png", "image/jpeg")},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": _BYTES} | {name: {"type": "string"} for name in FORM_FIELDS},
                }
            },
        },
    }
}
