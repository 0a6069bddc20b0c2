"""Commands that run the whole loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace


def deploy(
    workspace: WorkspaceOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the local Prefect server; default: a free one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve all flows with their schedules and triggers until interrupted.

    Starts the workspace's own Prefect server, or uses the one that PREFECT_API_URL names.

    Example: defectloop deploy --port 4200
    """
    import contextlib
    import os

    from flows import home, local_server
    from pipelines.locks import serving_lock

    place = open_workspace(workspace)
    line = place.params().line  # a mistake in params.yaml shows before a server starts
    with contextlib.ExitStack() as stack:
        stack.enter_context(serving_lock(place, line, local_server.STOP_TIMEOUT_S))
        local_server.wait_for_orphan(place)
        url = home.use(place)
        if not url:
            url = stack.enter_context(local_server.local_server(place, port))
            os.environ["PREFECT_API_URL"] = url
        from flows.deployments import serve

        page = url.removesuffix("/api")
        answer({"prefect": page}, f"Serving line {line}. Prefect UI: {page} (Ctrl-C stops)", as_json=as_json)
        serve(place)


def demo(
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Directory of the demo's workspace.")] = Path(
        ".demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Tell the whole story on 2,624 real solar cells: train, drift, retrain, promote. At most 6 minutes.

    Run again, it trains nothing and shows the result.

    Example: defectloop demo --workspace .demo
    """
    from flows.demo.story import tell

    tell(workspace, as_json=as_json)
