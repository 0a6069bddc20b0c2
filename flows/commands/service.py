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
    place = open_workspace(workspace)
    import contextlib
    import os

    from flows import home, local_server
    from pipelines.locks import serving_lock

    line = place.params().line  # report a mistake in params.yaml before starting a server
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


def ui(
    workspace: WorkspaceOption = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Port of MLflow; default: a free one.")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="Port of Prefect; default: a free one.")] = None,
    reports_port: Annotated[int | None, typer.Option(help="Port of the reports; default: a free one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Open MLflow, Prefect and the reports in the browser's reach, for looking only, until interrupted.

    Prints their addresses. No schedule or trigger runs, and SQLite databases are opened read-only: a click that would change
    something is answered with an error. Not read-only: the servers of MLFLOW_TRACKING_URI and PREFECT_API_URL and that of a
    running `defectloop deploy`, which are named instead of started, and a tracking store in another database. Only this
    machine can reach the addresses; from another one, use a tunnel (ssh -L).

    Example: defectloop ui --mlflow-port 5000
    """
    from flows import viewers

    place = open_workspace(workspace)
    try:
        with viewers.opened(place, mlflow_port, prefect_port, reports_port) as (found, servers):
            rows = [
                f"MLflow   {found.mlflow or 'nothing yet: defectloop train'}",
                f"Prefect  {found.prefect or 'nothing yet: defectloop train'}",
                f"Reports  {found.reports}",
                "Ctrl-C stops them.",
            ]
            answer(found, "\n".join(rows), as_json=as_json)
            viewers.watch(servers)
    except KeyboardInterrupt:
        return


def demo(
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Directory of the demo's workspace.")] = Path(
        ".demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on 2,624 real images of solar cells: train, drift, retrain, promote. Takes about nine minutes.

    A second run trains nothing and shows the result.

    Example: defectloop demo --workspace .demo
    """
    from flows.demo.story import play

    play(workspace, as_json=as_json)
