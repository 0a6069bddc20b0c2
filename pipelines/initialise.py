"""Make a workspace: a git + DVC repository with the default parameters and stages. Existing ones are left as they are."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from models.errors import BadInput
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

IGNORED = "/data\n/dvc_plots/\n/artifacts/\n/quarantine/\n/.defectloop/\n"
COMMITTED = ["params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", ".dvc"]


def init(directory: Path, line: str) -> Workspace:
    """The workspace in `directory` for `line`, made as far as it does not exist yet (also after a kill).

    Raises BadInput for a bad name and for a directory that serves another line.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", line):
        raise BadInput(f"{line!r} is no line name.", next_step="Use lower case, digits and hyphens: --line bottling-3")
    directory.mkdir(parents=True, exist_ok=True)
    place = workspaces.at(directory)
    for name in ("params.yaml", "dvc.yaml"):
        if not (place.root / name).exists():
            template = resources.files("pipelines").joinpath("templates", name).read_text()
            (place.root / name).write_text(re.sub(r"(?m)^line: .*$", f"line: {line}", template))
    there = place.params().line
    if there != line:
        raise BadInput(f"{place.root} already serves line {there}.", next_step=f"Choose another directory for {line}.")
    if not (place.root / ".gitignore").exists():
        (place.root / ".gitignore").write_text(IGNORED)
    if not (place.root / ".git").exists():
        git.run(place.root, "init", "--quiet", "--initial-branch", "main")
    dataset_versions.initialise(place.root, place.remote_url)
    git.commit(place.root, COMMITTED, f"Workspace of line {line}")
    return place
