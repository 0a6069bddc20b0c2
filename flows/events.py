"""Sends the two events that drive the loop (`pipelines.ledger.events`) to Prefect, until a retraining request takes them."""

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
    """Send every event of the line that no retraining request has taken yet. Returns the number of events sent.

    While a retraining runs, events that were sent before are not sent again: that run takes them. Raises Unreachable, with
    `again` as the next step.
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
    """Deliver one event over HTTP. Unlike the websocket client, it confirms that the server has the event.

    Every delivery gets a new id, because the server drops ids that it knows, and the first delivery may have come before
    the deployment existed. The payload contains the ledger's id, by which `pipelines.retraining.retrain` recognises
    repeated deliveries. Raises Unreachable if the server cannot be reached.
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
    """Return whether a retraining of the line is running now."""
    try:
        with retraining_lock(workspace, line):
            return False
    except Busy:
        return True
