"""The `retraining` command: requests for retraining, and what people decide about them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.ledger.tables import RetrainingRequest

LISTED = 20  # latest requests; --json has all


class RetrainingAction(StrEnum):
    LIST = "list"
    SHOW = "show"
    APPROVE = "approve"
    CANCEL = "cancel"


def retraining(
    action: Annotated[RetrainingAction, typer.Argument(help="What to do.")] = RetrainingAction.LIST,
    request: Annotated[int | None, typer.Argument(help="Number of the request; not with list.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="With approve and cancel: who decides.")] = None,
    reason: Annotated[str | None, typer.Option(help="With approve and cancel: why.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the line's retraining requests, show one, approve one that waits for approval, or cancel one.

    A cancelled request ends at its next step; its campaign ends too, and its answers are kept for the next training. To make
    a request: defectloop retrain.

    Example: defectloop retraining list
    Example: defectloop retraining cancel 4 --reviewer "A. Person" --reason "a trial batch"
    """
    place = open_workspace(workspace)
    from models.errors import BadInput
    from pipelines.ledger import requests
    from pipelines.ledger.ledger import Ledger
    from pipelines.retraining import retrain

    params = place.params()
    with Ledger.open(place.ledger_url) as ledger:
        retrain.tidy(ledger, params.line, params.retrain)
        known = requests.all_of(ledger, params.line)
        if action is RetrainingAction.LIST:
            text = "\n".join(_line(item) for item in known[-LISTED:]) or "No retraining was ever asked for."
            answer([_document(item) for item in known], text, as_json=as_json)
            return
        if request is None:
            raise BadInput("Which request?", next_step="Give its number; see: defectloop retraining list")
        if action is RetrainingAction.SHOW:
            chosen = requests.of_line(ledger, params.line, request)
            answer(_document(chosen), _full(chosen), as_json=as_json)
            return
        if not reviewer or not reason:
            raise BadInput(
                f"To {action.value} a request, say who decides and why.", next_step='Add --reviewer "…" --reason "…"'
            )
        decided = (requests.approve if action is RetrainingAction.APPROVE else requests.cancel)(
            ledger, params.line, request, reviewer, reason
        )
    if action is RetrainingAction.APPROVE:
        from flows import reviewing

        reviewing.announce(place)
    answer(_document(decided), _line(decided), as_json=as_json)


def _document(request: RetrainingRequest) -> dict[str, Any]:
    return {column.name: getattr(request, column.name) for column in request.__table__.columns}


def _line(request: RetrainingRequest) -> str:
    """Return a request in one line: number, time, state, trigger, result."""
    from pipelines.ledger import requests

    judged = request.state in ("promoted", "refused", "gated") and request.version is not None
    said = f"version {request.version}" if judged else request.outcome  # the gate's reasons are many: `show` has them
    if requests.awaits_approval(request):
        said = "waits for approval"
    asked = request.trigger.removeprefix("defectloop.")
    state = request.state.replace("_", " ")
    return f"{request.id:4}  {request.opened_at:%Y-%m-%d %H:%M} UTC  {state:15}  {asked}" + (
        f": {said}" if said else ""
    )


def _full(request: RetrainingRequest) -> str:
    rows = {
        "drift": request.shift,
        "campaign": request.campaign_id,
        "new labels": request.new_labels or None,
        "approved": f"{request.approved_by}: {request.approved_because}" if request.approved_by else None,
        "training": f"{request.training_s / 60:.1f} minutes" if request.training_s else None,
        "snapshot": request.snapshot,
        "version": request.version,
        "outcome": request.outcome if request.version else None,  # without a version, it is in the first line
        "ended": f"{request.closed_at:%Y-%m-%d %H:%M} UTC" if request.closed_at else None,
    }
    return "\n".join(
        [_line(request), *(f"      {name:11}{value}" for name, value in rows.items() if value is not None)]
    )
