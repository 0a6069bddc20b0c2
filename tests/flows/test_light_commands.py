"""Commands that people and scripts call often import nothing that they do not need: imports are most of their time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipelines.ledger.ledger import Ledger
from tests.conftest import picture
from tests.kept.unpacked import unpacked

SHOW = """
import json, sys
from flows import cli
codes = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["defectloop", *words]
    try:
        cli.main()
        codes.append(0)
    except SystemExit as ended:
        codes.append(ended.code or 0)
print(json.dumps([codes, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""
HEAVY = {
    "mlflow",
    "dvc",
    "torch",
    "lightning",
    "prefect",
    "evidently",
    "great_expectations",
    "pandas",
    "boto3",
    "sklearn",
}
HEAVY |= {"requests", "matplotlib", "alembic", "fastapi", "rich"}
OF_A_WORKSPACE = {"sqlalchemy", "numpy", "pyarrow", "onnxruntime", "scipy", "PIL", "pydantic_settings"}


def imported(*commands: list[object]) -> tuple[list[int], set[str]]:
    """The exit codes of commands that run in one process, and the packages that they imported."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW, json.dumps([list(map(str, words)) for words in commands])],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    codes, packages = json.loads(done.stderr.splitlines()[-1])
    return codes, set(packages)


def test_light_commands_import_no_heavy_package(tmp_path: Path) -> None:
    line = unpacked(tmp_path)
    with Ledger.open(line.ledger_url):  # migrates it, which needs alembic once
        pass
    image = tmp_path / "part.png"
    image.write_bytes(picture(3, defective=False))
    place = ["--workspace", line.root]
    codes, packages = imported(["status", *place], ["review", *place], ["snapshots", *place])
    assert codes == [0] * 3
    assert not packages & (HEAVY | {"scipy"})
    codes, packages = imported(["inspect", image, "--part", "p1", *place], ["trace", "p1", *place])
    assert codes == [0] * 2
    assert not packages & HEAVY


def test_a_missing_workspace_is_reported_before_anything_is_imported(tmp_path: Path) -> None:
    commands = [["status"], ["train"], ["inspect", "x.png"], ["audit"], ["ingest", "x"], ["deploy"], ["trace", "p1"]]
    codes, packages = imported(*([*words, "--workspace", tmp_path] for words in commands))
    assert codes == [3] * len(commands)
    assert not packages & (HEAVY | OF_A_WORKSPACE)


def test_help_and_version_import_no_heavy_package() -> None:
    codes, packages = imported(["--version"], ["status", "--help"])
    assert codes == [0, 0]
    assert not packages & ((HEAVY - {"rich"}) | OF_A_WORKSPACE)
