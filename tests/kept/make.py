"""Make the archive that `tests/behaviour/test_kept_workspaces.py` unpacks: `python -m tests.kept.make ARCHIVE.tar.xz`.

Run it on the commit whose format is to be kept, before the change that may break it. It holds a whole workspace: images,
a snapshot, a registered champion (a network of 270,000 random weights, so that the archive stays small), a ledger with
inspections, and the workspace's own dvc.yaml and params.yaml.

The archive is in git because only the code of that commit can make it: no generator of today can, and a clone has no
DVC remote to fetch it from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import change_params, make_champion, make_workspace, write_parts

SMALLER = {
    "model": {"backbone": "test_convnext", "weights": "none", "image_size_px": 64},
    "promote": {"min_auroc": 0.0, "max_escape_rate": 1.0, "max_overkill_rate": 1.0, "min_parts": 2},
}


def defectloop(root: Path, *words: object) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *map(str, words), "-w", str(root)], check=True)


def main(archive: Path) -> None:
    for who in ("AUTHOR", "COMMITTER"):
        os.environ |= {f"GIT_{who}_NAME": "defectloop", f"GIT_{who}_EMAIL": "defectloop@localhost"}
    with tempfile.TemporaryDirectory() as folder:
        place = make_workspace(Path(folder) / "workspace")
        change_params(place, SMALLER)
        subprocess.run(["git", "-C", str(place.root), "commit", "-qam", "Smaller still"], check=True)
        defectloop(place.root, "ingest", write_parts(Path(folder) / "stock", 36), "--slice", "matt")
        make_champion(place)
        defectloop(place.root, "replay", write_parts(Path(folder) / "production", 3, first=900) / "good")
        subprocess.run(
            ["tar", "-C", folder, "--owner=0", "--group=0", "-cJf", str(archive.resolve()), "workspace"], check=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
