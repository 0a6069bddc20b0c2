"""The story, top to bottom: stock, first model, steady production, a new material, ground truth, second model.

Every step can be told again: what is done is found done, so a demo that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from flows import home
from flows.demo import cells, service, summary
from flows.demo.meter import MemoryMeter
from flows.demo.narration import Narrator
from pipelines.initialise import init
from pipelines.workspace import Workspace

LINE = "solar-cells"


def tell(directory: Path, *, as_json: bool) -> None:
    """Run the demo in `directory` and write `summary.json` there; a finished demo is shown again, nothing is trained."""
    console = Console(stderr=as_json, highlight=False)
    narrator = Narrator(console)
    with MemoryMeter() as meter:
        place = init(directory, LINE)
        home.use(place)
        trained_before = summary.trainings(place)
        if summary.is_finished(place):
            console.print("The demo is done already: nothing to train. Start afresh with: rm -r", directory)
        else:
            play(place, narrator)
    result = summary.write(place, narrator.timings_s, peak_memory_mb=meter.peak_mb, trained_before=trained_before)
    summary.show(place, result, console)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")


def play(place: Workspace, narrator: Narrator) -> None:
    with service.deployed(place, narrator):
        first_stock(place, narrator)
        first_champion(place, narrator)
        steady_production(place, narrator)
        new_material(place, narrator)
        ground_truth(place, narrator)
        second_champion(place, narrator)
