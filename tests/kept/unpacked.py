"""Unpacks a kept workspace: one with a champion, in a tenth of a second."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipelines import workspace as workspaces
from pipelines.workspace import Workspace

NEWEST = max(Path(__file__).parent.glob("*.tar.xz"))


def unpacked(folder: Path) -> Workspace:
    subprocess.run(["tar", "-C", folder, "-xJf", NEWEST], check=True)
    return workspaces.at(folder / "workspace")
