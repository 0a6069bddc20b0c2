"""The paths of a workspace: its directory, data, stage outputs and local state. Creates nothing.

Importing it is cheap, because every command does; parameters and settings are imported where a workspace was found.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import NotReady

if TYPE_CHECKING:
    from models.params import Params


@dataclass(frozen=True)
class Workspace:
    """A git and DVC repository with `params.yaml`. An automation clone shares the `state` directory of its owner."""

    root: Path
    state: Path
    ledger_url: str
    tracking_uri: str
    artifact_root: str | None  # None: the tracking server decides
    store_url: str
    remote_url: str

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def annotations(self) -> Path:
        return self.data / "annotations.parquet"

    @property
    def artifacts(self) -> Path:
        """Stage outputs, `artifacts/STAGE/…`."""
        return self.root / "artifacts"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def params(self) -> Params:
        from models import params
        from pipelines import progress

        return params.load(self.root / "params.yaml", progress.say_once)


def at(root: Path) -> Workspace:
    """Return the workspace at `root`, with locations from the environment if they are set."""
    from pipelines import settings

    root = root.resolve()
    places = settings.load()
    state = (places.state or root / ".defectloop").resolve()
    return Workspace(
        root=root,
        state=state,
        ledger_url=places.ledger or f"sqlite:///{state / 'ledger.db'}",
        tracking_uri=places.tracking or f"sqlite:///{state / 'mlflow.db'}",
        artifact_root=places.artifacts or (None if places.tracking else str(state / "mlartifacts")),
        store_url=places.store or str(state / "images"),
        remote_url=places.remote or str(state / "dvc-remote"),
    )


def find(start: Path) -> Workspace:
    """Return the workspace that contains `start`: the nearest directory upwards with a `params.yaml`. Raises NotReady."""
    for directory in (start.resolve(), *start.resolve().parents):
        if (directory / "params.yaml").exists():
            _require_whole(directory)
            return at(directory)
    raise NotReady(
        f"{start.resolve()} is not inside a workspace: neither it nor a parent directory has a params.yaml.",
        next_step="Create one with defectloop init DIR --line NAME, or choose one with --workspace DIR.",
    )


def _require_whole(root: Path) -> None:
    """Raise NotReady if `.git` or `.dvc` is missing. Without its own `.git`, git would use a repository further up."""
    missing = [name for name in (".git", ".dvc") if not (root / name).exists()]
    if missing:
        raise NotReady(
            f"The workspace {root} has no {' and no '.join(missing)}, which holds the history of its versions.",
            next_step="Restore it from a backup or a clone, or start a new history with the present data: "
            f"defectloop init {shlex.quote(str(root))} --line NAME",
        )
