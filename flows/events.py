"""The two events that drive the loop, sent to Prefect in a way that knows whether they arrived."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event, Resource

from models.errors import Unreachable

DRIFT_DETECTED = "defectloop.drift.detected"
LABELS_COMPLETED = "defectloop.labels.completed"


def resource_id(line: str) -> str:
    return f"defectloop.line.{line}"


def send(name: str, *, line: str, event_id: UUID, payload: dict[str, Any], again: str) -> None:
    """Deliver one event over HTTP, which answers only once the server has it (the websocket client does not say).

    The caller chooses `event_id` and keeps it, so that a repeated delivery is recognised. Raises Unreachable; `again` says
    how the event gets its next chance.
    """
    resource = Resource({"prefect.resource.id": resource_id(line), "prefect.resource.name": line})
    event = Event(event=name, id=event_id, resource=resource, payload={"line": line, **payload})
    body = [event.model_dump(mode="json")]
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=body)
    except httpx.HTTPError as error:
        raise Unreachable(
            f"The event {name} did not reach Prefect ({error}).",
            next_step=again,
        ) from error
