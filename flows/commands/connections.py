"""The command that connects a line to its plant."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import typer

from flows.characters import shows_all
from flows.commands.options import JsonOption, WorkspaceOption, open_workspace


def connect(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Connect the line to its plant until interrupted: watched folders, MQTT, OPC UA and webhooks of service.yaml.

    Images go to a running `defectloop serve`, verdicts go back. Prints a line whenever the state of a connection changes.
    The service's key is taken from DEFECTLOOP_API_KEY. docs/connectors.md describes the section `connectors`.

    Example: defectloop connect --workspace bottles
    """
    place = open_workspace(workspace)
    from pipelines.connectors import connect

    def say(text: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        typer.echo(json.dumps({"at": at, "state": text}, ensure_ascii=not shows_all()) if as_json else f"{at} {text}")
        sys.stdout.flush()

    connect.run(place, say)
