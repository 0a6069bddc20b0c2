"""The `defectloop` command: the list of subcommands, and how errors are printed.

Each command imports what it needs when it runs, so that `--help` answers immediately.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.characters import in_utf8
from flows.commands import (
    access,
    checks,
    connections,
    data,
    ledger,
    production,
    retraining,
    review,
    service,
    serving,
    snapshots,
    training,
)
from models.errors import DefectloopError
from models.files import private_by_default


class _Command(TyperCommand):
    """A command whose flags are shown without a type: they take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_type(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_type(super().get_params(ctx))


def _flags_without_type(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


app = typer.Typer(
    name="defectloop",
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps a deep-learning defect detector good on a living production line.",
    epilog="Every command takes --workspace DIR (default: the current directory or one of its parents) and --json. "
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
        checks.audit,
        checks.validate,
        checks.quarantine,
        snapshots.snapshot,
        snapshots.snapshots,
        snapshots.export,
    ),
    "Models": (training.train, training.evaluate, training.compare, training.promote, training.rollback),
    "Production": (
        serving.serve,
        access.keys,
        production.inspect,
        production.replay,
        production.monitor,
        connections.connect,
        review.review,
        production.retrain,
        retraining.retraining,
        production.trace,
        ledger.ledger,
        production.status,
    ),
    "The loop": (service.deploy, service.ui, service.demo),
}

for panel, commands in PANELS.items():
    for command in commands:
        app.command(cls=_Command, rich_help_panel=panel)(command)
app.command("handover", cls=_Command, hidden=True)(snapshots.export)  # the former name, which scripts may still use


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"defectloop {version('defectloop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    in_utf8()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looking for plugins reads every installed package: 60 ms
    private_by_default()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that child processes are stopped too
    sys.exit(_flushed(_run()))


def _run() -> int:
    """Run the command on the command line. Returns its exit code."""
    try:
        app()
    except (SystemExit, KeyboardInterrupt) as ended:
        code = 130 if isinstance(ended, KeyboardInterrupt) else ended.code
        if code == 130:
            typer.echo("Interrupted. Run the same command again to continue where it stopped.", err=True)
        return code if isinstance(code, int) else int(code is not None)
    except Exception as error:
        from pipelines import failures

        return _show(failures.in_words(error))
    return 0


def _show(error: DefectloopError) -> int:
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": type(error).__name__, "message": error.message, "next": error.next_step}))
    else:
        typer.secho(f"✗ {error.message}", fg="red", err=True)
        if error.next_step:
            typer.echo(f"  → {error.next_step}", err=True)
    return error.exit_code


def _flushed(code: int) -> int:
    """Flush standard output. Its reader may have gone (`| head`) or the disk may be full: then the exit code is not 0."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise Python flushes again at exit and prints a traceback
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"✗ The output cannot be written: {error.strerror}.", err=True)
        return code or 1
    return code


if __name__ == "__main__":
    main()
