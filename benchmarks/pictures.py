"""Take the pictures of the docs from the demo's workspace: the champion's report, and its runs side by side in MLflow.

    python -m benchmarks.pictures --workspace .demo        # or: make pictures

Needs Chromium. MLflow's page is its own, opened read-only by `flows.viewers`.
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
from pipelines.pages import index
from pipelines.workspace import Workspace

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RUNS, RUNS_PX = "mlflow-compare.png", (1500, 1500)
REPORT, REPORT_PX = "report.png", (1180, 1000)
LOADING_MS = 60_000  # of the browser's virtual time, until the page has drawn everything


def compare_page(workspace: Workspace, server: str) -> str:
    """Return the address of MLflow's comparison of the two newest versions' runs. Raises NotReady if there are fewer."""
    line = workspace.params().line
    versions = model_registry.versions(workspace, line)[-2:]
    if len(versions) < 2:
        raise NotReady(f"Line {line} has fewer than two versions.", next_step="Make the demo first: make demo")
    experiment = tracking.experiment_id(workspace, tracking.client(workspace), line)
    runs = quote(json.dumps([version.mlflow_run_id for version in versions]))
    return f"{server}#/compare-runs?runs={runs}&experiments={quote(json.dumps([experiment]))}&{tracking.TRAINING_VIEW}"


def report_page(workspace: Workspace) -> str:
    """Return the address of the champion's report. Raises NotReady without one."""
    champion = model_registry.champion(workspace, workspace.params().line)
    page = index.version_page(workspace, champion.version) if champion else None
    if page is None or not page.exists():
        raise NotReady("The workspace has no champion with a report.", next_step="Make the demo first: make demo")
    return page.resolve().as_uri()


def photograph(url: str, out: Path, size_px: tuple[int, int]) -> None:
    """Write a PNG of a page as headless Chromium shows it, at this width and height."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise NotReady("There is no Chromium.", next_step="Install it: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--window-size={size_px[0]},{size_px[1]}", "--hide-scrollbars"]
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *options]
        command += [f"--virtual-time-budget={LOADING_MS}", f"--screenshot={out.absolute()}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path(".demo"))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="Folder of the pictures.")
    chosen = parser.parse_args()
    place = workspaces.find(chosen.workspace)
    photograph(report_page(place), chosen.out / REPORT, REPORT_PX)
    with viewers.opened(place, None, None, None) as (found, _):
        if found.mlflow is None:
            raise NotReady("The workspace has no run.", next_step="Make the demo first: make demo")
        photograph(compare_page(place, found.mlflow.split("#")[0]), chosen.out / RUNS, RUNS_PX)
    print(f"Wrote {chosen.out / REPORT} and {chosen.out / RUNS}")


if __name__ == "__main__":
    main()
