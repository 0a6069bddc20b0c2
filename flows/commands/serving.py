"""The command that runs the inspection service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, answer, open_workspace


def serve(
    workspace: Annotated[
        list[Path] | None,
        typer.Option(
            "--workspace",
            "-w",
            help="A workspace, or a folder of workspaces; repeat it to serve several lines. Default: the current one.",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: serve.host of service.yaml.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 chooses a free one; default: serve.port.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect images that arrive over HTTP, until interrupted. The API is described under /docs.

    An answer leaves when its record is in the ledger and its image on the disk. A new champion takes over without a pause.
    Settings: section `serve` of service.yaml, in the first workspace.

    Example: defectloop serve --workspace bottles
    """
    from pipelines.serving import keys, server

    places = [place for directory in workspace or (None,) for place in _workspaces(directory)]
    settings = server.settings(places[0], host, port)
    with server.listening(settings) as (socket, url):
        lines = [place.params().line for place in places]
        first = keys.create_first(keys.folder(places[0]))
        key = {"admin_key": first[1]} if first else {}
        made = f"\nThe first admin key, shown only now: {first[1]}\nMore keys: defectloop keys create" if first else ""
        answer(
            {"url": url, "lines": lines} | key,
            f"Serving {', '.join(lines)} at {url} (description: {url}/docs). Ctrl-C stops.{made}",
            as_json=as_json,
        )
        server.run(places, settings, socket)


def _workspaces(directory: Path | None) -> list:
    """Return the workspace at `directory`, or those directly below it."""
    if directory is not None and directory.is_dir() and not (directory / "params.yaml").exists():
        below = sorted(path.parent for path in directory.glob("*/params.yaml"))
        if below:
            return [open_workspace(path) for path in below]
    return [open_workspace(directory)]
