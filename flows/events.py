"""The two events that drive the loop (`pipelines.ledger.events`), sent to Prefect until a request answers for them."""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event as PrefectEvent
from prefect.events.schemas.events import Resource

from models import names
from models.errors import Busy, Unreachable
from pipelines.ledger.events import mark_sent, waiting
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Event
from pipelines.locks import retraining_lock
from pipelines.workspace import Workspace


def resource_id(line: str) -> str:
    return f"defectloop.line.{names.for_tools(line)}"


def send_waiting(workspace: Workspace, again: str) -> int:
    """Send every event of the line that no request answers for; returns how many went out.

    One that was sent before waits while a retraining is at work: that one takes it up. Raises Unreachable; `again` says how
    the events get their next chance.
    """
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        unsent = waiting(ledger, line)
        if any(event.sent_at for event in unsent) and is_retrained(workspace, line):
            unsent = [event for event in unsent if event.sent_at is None]
        for event in unsent:
            send(event, again)
            mark_sent(ledger, event.id)
    return len(unsent)


def send(event: Event, again: str) -> None:
    """Deliver one event over HTTP, which answers only once the server has it (the websocket client does not say).

    Every delivery has an id of its own, because the server drops one that it saw before, and the first may have come before
    the deployment did. The ledger's id is in the content, and `pipelines.retraining.retrain` takes the same one for the
    same request.
    """
    resource = Resource({"prefect.resource.id": resource_id(event.line), "prefect.resource.name": event.line})
    payload = {"line": event.line, "event_id": event.id, **event.payload}
    body = [PrefectEvent(event=event.name, resource=resource, payload=payload).model_dump(mode="json")]
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=body)
    except httpx.HTTPError as error:
        raise Unreachable(f"The event {event.name} did not reach Prefect ({error}).", next_step=again) from error


def is_retrained(workspace: Workspace, line: str) -> bool:
    """Whether a retraining is at work at this moment."""
    try:
        with retraining_lock(workspace, line):
            return False
    except Busy:
        return True
