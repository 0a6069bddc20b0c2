"""Take the picture of docs/mlflow.md: the newest two registered runs of a workspace, side by side in MLflow.

    python -m benchmarks.mlflow_page --workspace .demo        # or: make pictures

Needs Chromium. The page is MLflow's own, opened read-only by `flows.viewers`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from flows import viewers
from models.errors import NotReady
from pipelines import workspace as workspaces
from pipelines.adapters import model_registry, tracking
from pipelines.workspace import Workspace

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH_PX, HEIGHT_PX = 1500, 1900
LOADING_MS = 60_000  # of the browser's virtual time, until the page has drawn everything
OUT = Path("docs/mlflow-compare.png")


def compare_page(workspace: Workspace, server: str) -> str:
    """Return the address of MLflow's comparison of the two newest versions' runs. Raises NotReady if there are fewer."""
    line = workspace.params().line
    versions = model_registry.versions(workspace, line)[-2:]
    if len(versions) < 2:
        raise NotReady(f"Line {line} has fewer than two versions.", next_step="Make the demo first: make demo")
    experiment = tracking.experiment_id(workspace, tracking.client(workspace), line)
    runs = quote(json.dumps([version.mlflow_run_id for version in versions]))
    return f"{server}#/compare-runs?runs={runs}&experiments={quote(json.dumps([experiment]))}&{tracking.TRAINING_VIEW}"


def photograph(url: str, out: Path, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> None:
    """Write a PNG of a page as headless Chromium shows it."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise NotReady("There is no Chromium.", next_step="Install it: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--window-size={width_px},{height_px}", "--hide-scrollbars"]
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *options]
        command += [f"--virtual-time-budget={LOADING_MS}", f"--screenshot={out.absolute()}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path(".demo"))
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    place = workspaces.find(chosen.workspace)
    with viewers.opened(place, None, None, None) as (found, _):
        if found.mlflow is None:
            raise NotReady("The workspace has no run.", next_step="Make the demo first: make demo")
        photograph(compare_page(place, found.mlflow.split("#")[0]), chosen.out)
    print(f"Wrote {chosen.out}")


if __name__ == "__main__":
    main()
