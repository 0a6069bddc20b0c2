"""The `defectloop` command: its list of subcommands, and how an error reaches the terminal.

Light on purpose: a command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable

import typer

from flows.commands import data, production, review, service, training
from models.errors import DefectloopError, masked

app = typer.Typer(
    name="defectloop",
    help="Keeps a deep-learning defect detector good on a living production line.",
    epilog="Every command takes --workspace DIR (default: here or above) and --json. "
    "Exit codes: 0 done, 1 error, 2 bad input, 3 an earlier step is missing, 4 refused, 5 unreachable, 6 busy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Data": (
        data.init,
        data.ingest,
        data.synthesize,
        data.augmentations,
        data.audit,
        data.validate,
        data.quarantine,
        data.snapshot,
        data.snapshots,
        data.handover,
    ),
    "Models": (training.train, training.evaluate, training.compare, training.promote, training.rollback),
    "Production": (
        production.inspect,
        production.replay,
        production.monitor,
        review.review,
        production.retrain,
        production.trace,
        production.status,
    ),
    "The loop": (service.deploy, service.demo),
}

for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is stopped too
    try:
        app()
    except DefectloopError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": type(error).__name__, "message": error.message, "next": error.next_step}))
        else:
            typer.secho(f"✗ {error.message}", fg="red", err=True)
            if error.next_step:
                typer.echo(f"  → {error.next_step}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("Interrupted. Run the same command again to go on where it stopped.", err=True)
        sys.exit(130)
    except Exception as error:  # what nobody foresaw: one sentence for the user, the traceback for whoever mends it
        log = _traceback_kept(error)
        message = masked(f"{type(error).__name__}: {error}".splitlines()[0])
        next_step = f"This is a defect of defectloop, or of a tool below it. The traceback is in {log}."
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": "Unexpected", "message": message, "next": next_step}))
        else:
            typer.secho(f"✗ {message}", fg="red", err=True)
            typer.echo(f"  → {next_step}", err=True)
        sys.exit(1)


def _traceback_kept(error: Exception) -> str:
    """The file that holds the traceback: in the temporary directory, since the workspace's disk may be what failed."""
    import tempfile
    import traceback

    text = masked(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="defectloop-", suffix=".log", delete=False) as sink:
            sink.write(text)
        return sink.name
    except OSError:
        sys.stderr.write(text)
        return "the lines above"


if __name__ == "__main__":
    main()
