"""Section `serve` of service.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.service_file import Section


class Serve(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8484  # 0: a free one
    queue: Annotated[int, Field(ge=1)] = 64  # waiting requests of a line; more are answered with 503
    shadow: bool = False  # let the challenger see every image; its verdicts are stored and never answered
    spool_mb: Annotated[int, Field(ge=1)] = 2000  # images that may wait for a remote store
