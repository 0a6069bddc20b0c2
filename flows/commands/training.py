"""Commands that train, evaluate, compare, promote and roll back models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace


def train(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Run the training flow: validate, snapshot, the DVC stages, register, gate, promote.

    Unchanged stages are not run again. Training uses the data in this workspace. Labels from reviews are used by
    `defectloop retrain`; the last line counts the parts that wait for it. The exit code is 4 if the gate refuses the new
    version.

    Example: defectloop train --workspace bottles
    """
    place = open_workspace(workspace)
    from flows import home
    from flows.local_server import for_one_command

    for_one_command(place)
    from flows.training import training

    with home.reached():
        outcome = training(str(place.root))
    verdict = "promoted to champion" if outcome.promoted else "not promoted"
    waiting = outcome.reviewed_waiting
    left_out = (
        f"\n{waiting} reviewed parts were not used in this training. To train on them: defectloop retrain"
        if waiting
        else ""
    )
    text = f"Version {outcome.version} {verdict}: {'; '.join(outcome.reasons)}{left_out}"
    answer(
        outcome,
        text + _after_refusal(outcome.version, outcome.reasons) if outcome.refused else text,
        as_json=as_json,
    )
    if not outcome.promoted:
        raise typer.Exit(4)


def _after_refusal(version: str, reasons: Sequence[str]) -> str:
    """Return lines that say what to change, and how to look at the refused version."""
    from pipelines.promotion import next_steps

    steps = [*next_steps.after(reasons), f"to see what it answers anyway: defectloop inspect --version {version} IMAGE"]
    return "".join(f"\n  → {step}" for step in steps)


def evaluate(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Measure the exported detector on the frozen test parts and write the report.

    Takes a snapshot of the validated data, then runs the DVC stages train, export and evaluate if they are out of date.

    Example: defectloop evaluate && xdg-open artifacts/evaluate/report.html
    """
    place = open_workspace(workspace)
    import json

    from models.files import read_json
    from pipelines import line_defect_rate
    from pipelines.adapters.dataset_versions import run_stage
    from pipelines.locks import line_lock
    from pipelines.snapshots.snapshot import snapshot

    with line_lock(place, place.params().line, wait_s=600.0):
        snapshot(place)  # training data always has a version
        for stage in ("train", "export", "evaluate"):
            run_stage(place, stage, force=stage == "export" and line_defect_rate.outdated(place))
    metrics = read_json(place.artifacts / "evaluate" / "metrics.json", next_step="Delete it and run the command again.")
    report = place.artifacts / "evaluate" / "report.html"
    answer(
        {"metrics": metrics, "report": report}, f"{json.dumps(metrics, indent=2)}\nReport: {report}", as_json=as_json
    )


def promote(
    version: Annotated[str, typer.Argument(help="Registered version to run through the gate.")],
    workspace: WorkspaceOption = None,
    lift_withdrawal: Annotated[
        bool,
        typer.Option("--lift-withdrawal", help="Allow a version that was rolled back; needs --reviewer and --reason."),
    ] = False,
    accept_escapes: Annotated[
        bool,
        typer.Option("--accept-escapes", help="Accept that more defective parts pass; needs --reviewer and --reason."),
    ] = False,
    reviewer: Annotated[str | None, typer.Option(help="Who lifts the withdrawal or accepts the escapes.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a registered version through the gate. Makes it champion, or records why not (exit code 4).

    A version that was rolled back is refused until its withdrawal is lifted. A version with more escapes than
    promote.max_escape_rise allows waits until a person accepts them.

    Example: defectloop promote 7
    """
    place = open_workspace(workspace)
    from models.errors import BadInput
    from pipelines import progress
    from pipelines.promotion.promote import Person, promote

    decides = lift_withdrawal or accept_escapes
    person = Person(reviewer, reason) if decides and reviewer and reason else None
    if (decides or reviewer or reason) and person is None:
        option = "--accept-escapes" if accept_escapes else "--lift-withdrawal"
        raise BadInput(
            "A person's decision needs --lift-withdrawal or --accept-escapes, with --reviewer and --reason.",
            next_step=f'defectloop promote {version} {option} --reviewer "…" --reason "…"',
        )
    with progress.working("promote"):
        decision = promote(
            place,
            version,
            lift=person if lift_withdrawal else None,
            accept_escapes=person if accept_escapes else None,
        )
    verdict = "is champion" if decision.promote else "is not champion yet" if decision.waits else "was refused"
    text = f"Version {version} {verdict}: {'; '.join(decision.reasons)}"
    refused = not decision.promote and not decision.waits
    answer(decision, text + _after_refusal(version, decision.reasons) if refused else text, as_json=as_json)
    if not decision.promote:
        raise typer.Exit(4)


def rollback(
    workspace: WorkspaceOption = None,
    to: Annotated[str | None, typer.Option(help="Version to return to; default: the previous champion.")] = None,
    reason: Annotated[str | None, typer.Option(help="What is wrong with the current champion.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who decides it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version champion again and withdraw the current one. The decision is recorded.

    A withdrawn version cannot be promoted again until its withdrawal is lifted: defectloop promote VERSION
    --lift-withdrawal.

    Example: defectloop rollback --reason "misses scratches since Monday" --reviewer "quality lab"
    """
    place = open_workspace(workspace)
    from pipelines.promotion.promote import rollback

    decision = rollback(place, to, reason=reason, reviewer=reviewer)
    answer(decision, "; ".join(decision.reasons), as_json=as_json)


def compare(
    first: Annotated[str, typer.Argument(help="Registered version.")],
    second: Annotated[str, typer.Argument(help="Registered version to compare it with.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions on the same test parts, and show the parts that they judge differently.

    Example: defectloop compare 6 7
    """
    place = open_workspace(workspace)
    from pipelines import progress
    from pipelines.promotion.compare import compare, text

    with progress.working("compare"):
        comparison = compare(place, first, second)
    answer(comparison, text(comparison), as_json=as_json)
