"""Make a workspace: a git + DVC repository with the default parameters and stages. Existing ones are left as they are."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from models import names
from models.errors import BadInput
from models.files import write_whole
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.workspace import Workspace

IGNORED = (
    "/data\n/dvc_plots/\n/artifacts/\n/quarantine/\n/.defectloop/\n.*.partial\n"  # the last: what a killed writer left
)
COMMITTED = ["params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", ".dvc"]


def init(directory: Path, line: str) -> Workspace:
    """The workspace in `directory` for `line`, made as far as it does not exist yet (also after a kill).

    Raises BadInput for a bad name and for a directory that serves another line.
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
            f"{place.root} already serves line {present_line}.", next_step=f"Choose another directory for {line}."
        )
    if not (place.root / ".gitignore").exists():
        write_whole(place.root / ".gitignore", IGNORED.encode())
    if not (place.root / ".git").exists():
        git.run(place.root, "init", "--quiet", "--initial-branch", "main")
    dataset_versions.initialise(place.root, place.remote_url)
    git.commit(place.root, COMMITTED, f"Workspace of line {line}")
    return place


def _yaml(text: str) -> str:
    """As YAML has it: an ordinary name as it is, any other one in quotes."""
    return text if re.fullmatch(r"[a-z][a-z0-9]*-[a-z0-9-]*", text) else json.dumps(text, ensure_ascii=False)
