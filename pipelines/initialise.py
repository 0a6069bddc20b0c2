"""Creates a workspace: a git and DVC repository with default parameters and stages. Existing files are left unchanged."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from models import names
from models.errors import BadInput
from models.files import write_whole
from pipelines import locks
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

IGNORED = (
    "/data\n/dvc_plots/\n/artifacts/\n/quarantine/\n/.defectloop/\n.*.partial\n"  # *.partial: left by killed processes
)
ANOTHER_INIT_S = 60.0  # how long to wait for another process that creates the same workspace
COMMITTED = ["params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", ".dvc"]


def init(directory: Path, line: str) -> Workspace:
    """Create the workspace in `directory` for `line`, or complete one that a killed run left unfinished.

    Returns the workspace. Raises BadInput for an invalid name, and if the directory belongs to another line; Busy if another
    command keeps the line busy.
    """
    names.require(line, "The line")
    directory.mkdir(parents=True, exist_ok=True)
    place = workspaces.at(directory)
    for name in ("params.yaml", "dvc.yaml"):
        if not (place.root / name).exists():
            template = resources.files("pipelines").joinpath("templates", name).read_text()
            text = re.sub(r"(?m)^line: .*$", lambda _: f"line: {_yaml(line)}", template)
            write_whole(place.root / name, text.encode())
    present_line = place.params().line
    if present_line != line:
        raise BadInput(
            f"{place.root} already belongs to line {present_line}.", next_step=f"Choose another directory for {line}."
        )
    if not (place.root / ".gitignore").exists():
        write_whole(place.root / ".gitignore", IGNORED.encode())
    with locks.line_lock(place, line, wait_s=ANOTHER_INIT_S):  # git and DVC do not wait for each other's index
        if not (place.root / ".git").exists():
            git.run(place.root, "init", "--quiet", "--initial-branch", "main")
        dataset_versions.initialise(place.root, place.remote_url)
        git.commit(place.root, COMMITTED, f"Workspace of line {line}")
    return place


def _yaml(text: str) -> str:
    """Return the text as a YAML value: ordinary names as they are, all others in quotes."""
    return text if re.fullmatch(r"[a-z][a-z0-9]*-[a-z0-9-]*", text) else json.dumps(text, ensure_ascii=False)
