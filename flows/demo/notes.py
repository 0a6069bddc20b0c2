"""Facts that the demo keeps between two calls and that no other record holds, in a small file in the workspace's state."""

from __future__ import annotations

import json

from models.files import write_whole
from pipelines.workspace import Workspace


class Notes:
    def __init__(self, place: Workspace) -> None:
        self._path = place.state / "demo.json"
        self._kept: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, name: str) -> str | None:
        return self._kept.get(name)

    def keep_once(self, **values: str) -> None:
        """Store the values whose names are not stored yet."""
        self._kept = values | self._kept
        write_whole(self._path, json.dumps(self._kept, indent=1).encode())
