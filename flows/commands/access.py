"""Commands for who may use the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from pipelines.serving.keys import Key


class KeysAction(StrEnum):
    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"


class KeyRole(StrEnum):
    """As `pipelines.serving.keys.Role`, which is not imported for `--help`."""

    STATION = "station"
    REVIEWER = "reviewer"
    ENGINEER = "engineer"
    ADMIN = "admin"


def keys(
    action: Annotated[KeysAction, typer.Argument(help="What to do.")] = KeysAction.LIST,
    key: Annotated[str | None, typer.Argument(help="With revoke: the key's id or name.")] = None,
    name: Annotated[str | None, typer.Option(help="With create: who or what uses the key.")] = None,
    role: Annotated[KeyRole, typer.Option(help="With create: what the key may do.")] = KeyRole.STATION,
    line: Annotated[
        list[str] | None, typer.Option(help="With create: a line that the key is for; repeat it; default: all lines.")
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="With create: days until the key expires; default: never."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create, list or revoke the API keys of the inspection service.

    A station sends images and reads verdicts, a reviewer reads and answers reviews, an engineer does everything about a
    line, an admin everything. A new key is printed once and stored nowhere. A revocation holds from the next request on.

    Example: defectloop keys create --name press-4 --role station --line solar-cells
    """
    place = open_workspace(workspace)
    from models.errors import BadInput
    from pipelines.serving import keys as stored

    folder = stored.folder(place)
    if action is KeysAction.CREATE:
        if not name:
            raise BadInput("A key needs a name.", next_step="Add --name, for example the station's.")
        expires_at = datetime.now(UTC) + timedelta(days=expires_days) if expires_days else None
        made, text = stored.create(folder, name, stored.Role(role), line, expires_at)
        answer(_shown(made, None) | {"key": text}, f"{_line(made)}\n\n  {text}\n\n{KEPT}", as_json=as_json)
    elif action is KeysAction.REVOKE:
        if not key:
            raise BadInput("Which key?", next_step="Give its id or name; see: defectloop keys list")
        gone = stored.revoke(folder, key)
        answer(_shown(gone, None), f"Revoked: {_line(gone)}", as_json=as_json)
    else:
        used, found = stored.last_used(folder), stored.read(folder)
        rows = [_line(one, used.get(one.id)) for one in found]
        answer(
            [_shown(one, used.get(one.id)) for one in found], "\n".join(rows) or "There is no key yet.", as_json=as_json
        )


KEPT = "This is the only time that the key is shown. Give it to its user as DEFECTLOOP_API_KEY, or as Authorization: Bearer."


def _shown(key: Key, used: datetime | None) -> dict:
    said = key.model_dump(mode="json", exclude={"sha256"})
    return said | {"state": key.state(datetime.now(UTC)), "last_used": used.isoformat() if used else None}


def _line(key: Key, used: datetime | None = None) -> str:
    lines = "all lines" if key.lines is None else ", ".join(key.lines)
    ends = f", expires {key.expires_at:%Y-%m-%d}" if key.expires_at else ""
    last = f", last used {used:%Y-%m-%d %H} h UTC" if used else ""
    return f"{key.id}  {key.state(datetime.now(UTC)):8}{key.role:9} {key.name}: {lines}{ends}{last}"
