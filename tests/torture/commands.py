"""The smallest production line there is, and the commands that take it from nothing to a retrained champion and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import workspace as workspaces
from pipelines.workspace import Workspace
from tests.conftest import LINE, SMALL, change_params, picture

LINE_FOLDER, DELIVERIES, OUT = "line", "deliveries", "out"  # below the directory that everything of a trial lies in
CUT, UNLABELLED = "cut.png", "unlabelled.png"
N_PARTS, N_PRODUCED = 60, 16
TINY = SMALL | {
    "validate": SMALL["validate"] | {"min_parts_per_class": {"train": 3, "validation": 1, "test": 1}},
    "model": SMALL["model"] | {"backbone": "test_efficientnet", "weights": "none"},
    "train": {"epochs": 1, "batch_size": 16, "flips": ["none"]},
    "evaluate": {"bootstrap": 100, "gallery": 1, "robustness": 2},
    "promote": {
        "min_auroc": 0,
        "min_parts": 0,
        "max_escape_rate": 1,
        "max_escape_rise": None,
        "max_overkill_rate": 1,
        "max_changed_verdicts": 1,
        "max_flipped_verdicts": 1,
        "max_cost_rise": 100,
        "min_probability_cheaper": 0,
    },
    "monitor": {"window": N_PRODUCED, "min_window": 8},
    "retrain": {"labels": N_PRODUCED, "wait_for_labels_s": 0},
}

Action = Callable[[], int]  # run in a process of its own, in the trial's directory; returns the exit code


@dataclass(frozen=True)
class Step:
    """One command. `ends` are the exit codes of a run of it that was not disturbed, on whatever was left to do.

    `arrange` prepares the next step and is never disturbed; `heavy` steps take many times as long as the others.
    """

    name: str
    run: Action
    ends: tuple[int, ...] = (0,)
    arrange: Action | None = None
    heavy: bool = False
    repeatable: bool = True  # two of it at once come to what one comes to
    words: tuple[str, ...] = ()  # as typed, where it is a command


def place() -> Workspace:
    return workspaces.at(Path(LINE_FOLDER))


def typed(name: str, *words: str, **how) -> Step:
    """The step that is `defectloop WORDS`, in the line's workspace."""
    if words[0] != "init":
        words = (*words, "--workspace", LINE_FOLDER)
    return Step(name, command(*words), words=words, **how)


def command(*words: str) -> Action:
    def run() -> int:
        from flows import cli

        sys.argv = ["defectloop", *words]
        return ended(cli.main)

    return run


def program(*words: str) -> Action:
    """The same as a program of its own, imports and all."""

    def run() -> int:
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        os.execv(sys.executable, [sys.executable, "-m", "flows.cli", *words])

    return run


def ended(program: Callable[[], object]) -> int:
    """The exit code of a program."""
    try:
        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def write_deliveries() -> int:
    """A first stock with an image that is cut off, one without a label and one twice; and a brighter production."""
    stock, production = Path(DELIVERIES, "stock"), Path(DELIVERIES, "production")
    stock.mkdir(parents=True)
    production.mkdir()
    rows = ["path,label,slice"]
    for number in range(N_PARTS):
        defective = number % 2 == 0
        (stock / f"part{number:02d}.png").write_bytes(picture(number, defective=defective))
        rows.append(f"part{number:02d}.png,{'defect' if defective else 'good'},matt")
    (stock / "again.png").write_bytes(picture(0, defective=True))
    (stock / CUT).write_bytes(picture(N_PARTS, defective=False)[:900])
    (stock / UNLABELLED).write_bytes(picture(N_PARTS + 1, defective=False))
    rows += ["again.png,defect,matt", f"{CUT},good,matt", f"{UNLABELLED},,matt"]
    (stock / "stock.csv").write_text("\n".join(rows) + "\n")
    for number in range(N_PRODUCED):
        data = picture(100 + number, defective=number % 2 == 0, bright=True)
        (production / f"made{number:02d}.png").write_bytes(data)
    return 0


def small_numbers() -> int:
    from pipelines.adapters import git

    change_params(place(), TINY)
    git.commit(place().root, ["params.yaml"], "Small numbers")
    return 0


def retrain() -> int:
    """The flow as the server starts it for the drift's event: by hand, a run after the end would ask for another one."""
    from sqlalchemy import select

    from flows import cli
    from flows.retraining import retraining
    from pipelines.ledger import events
    from pipelines.ledger.ledger import Ledger
    from pipelines.ledger.tables import Event

    with Ledger.open(place().ledger_url) as ledger, ledger.reading() as session:
        drift = session.scalars(select(Event.id).where(Event.name == events.DRIFT_DETECTED)).one()
    cli.app = lambda: print(retraining(str(place().root), events.DRIFT_DETECTED, drift))
    return ended(cli.main)


def answer_all_but_one() -> int:
    from pipelines.ledger.ledger import Ledger
    from pipelines.review import answers

    with Ledger.open(place().ledger_url) as ledger:
        *others, _ = waiting_parts(ledger)
        for part in others:
            answers.record(ledger, LINE, part, "defect" if len(part) % 2 else "good", "lab")
    return 0


def waiting_parts(ledger) -> list[str]:
    from pipelines.ledger import campaigns

    return sorted(item.inspection.part for item in campaigns.waiting(ledger, LINE))


def last_answer() -> int:
    """What the last part is; once the campaign has ended, nobody asks."""
    from pipelines.ledger.ledger import Ledger

    with Ledger.open(place().ledger_url) as ledger:
        left = waiting_parts(ledger)
    answer = command(
        "review", "--part", *left[:1], "--label", "defect", "--reviewer", "lab", "--workspace", LINE_FOLDER
    )
    return answer() if left else 0


STOCK = f"{DELIVERIES}/stock/stock.csv"
VALIDATE = command("validate", "--workspace", LINE_FOLDER)
SAID = ("--reviewer", "lab", "--reason", "torture")
STEPS = (
    typed("init", "init", LINE_FOLDER, "--line", LINE, arrange=small_numbers),
    typed("ingest", "ingest", STOCK),
    typed("validate", "validate"),
    typed(
        "quarantine release",
        *("quarantine", "release", f"stock/{UNLABELLED}", "--label", "good", "--reviewer", "lab"),
        ends=(0, 2),  # there is none of that name when it was released before
    ),
    typed("quarantine drop", "quarantine", "drop", f"stock/{CUT}", ends=(0, 2)),
    typed("synthesize", "synthesize", "--kinds", "scratch", "--count", "2", arrange=VALIDATE),
    typed("snapshot", "snapshot"),
    typed("export", "export", "coco", f"{OUT}/coco", ends=(0, 2)),  # its directory is not empty then
    typed("evaluate", "evaluate", heavy=True),
    typed("train", "train", heavy=True),
    typed("inspect", "inspect", f"{DELIVERIES}/production/made00.png", repeatable=False),
    typed("replay", "replay", f"{DELIVERIES}/production"),
    typed("monitor", "monitor"),
    Step("retrain, until it asks", retrain, arrange=answer_all_but_one),
    Step("review", last_answer, repeatable=False),  # the second of two is told that the campaign has ended
    Step("retrain, with labels", retrain, heavy=True),
    typed("rollback", "rollback", "--to", "1", *SAID),
    typed("promote", "promote", "2", "--lift-withdrawal", *SAID),
    typed("snapshots merge", "snapshots", "merge"),
    typed("snapshots restore", "snapshots", "restore", "1"),
)
