"""What mistakes cost in the demo: a third of its parts are defective, and the defaults are for lines with few defects."""

from __future__ import annotations

import re

from pipelines.adapters import git
from pipelines.workspace import Workspace

COSTS = {"escape": "10", "overkill": "1.7", "review": "1"}


def settle(place: Workspace) -> None:
    """Write them into params.yaml, comments kept, and commit that; automation reads what is committed."""
    path = place.root / "params.yaml"
    text = path.read_text()
    for name, cost in COSTS.items():
        text = re.sub(rf"(?m)^(  {name}: )[\d.]+", rf"\g<1>{cost}", text)
    if text != path.read_text():
        path.write_text(text)
        git.commit(place.root, ["params.yaml"], "What mistakes cost in the demo")
