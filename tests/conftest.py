"""A small production line for tests: grey parts of 64 px, defective ones with a dark scratch, in two materials."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.images import codec
from pipelines import workspace as workspaces
from pipelines.adapters import git
from pipelines.ingest import ingest
from pipelines.initialise import init
from pipelines.workspace import Workspace
from tests.programs import Preloaded, stage_by

LINE = "widgets"
SMALL = {
    "validate": {"min_side_px": 16, "min_parts_per_class": {"train": 4, "validation": 2, "test": 2}},
    "model": {
        "image_size_px": 64,
        "classification": {"hidden": 16, "ensemble_size": 1, "dropout": 0.5},
        "detection": {"head_channels": 16, "max_detections": 8, "nms_iou": 0.6},
        "anomaly": {"method": "patchcore", "memory_bank_size": 60},
    },
    "train": {"epochs": 8, "batch_size": 16, "flips": ["none"]},
    "cost": {"escape": 10, "overkill": 1.7, "review": 1},  # a third of the parts are defective here
    "evaluate": {"bootstrap": 100, "gallery": 2, "robustness": 4},
    "promote": {
        "min_auroc": 0.6,
        "min_parts": 5,
        "max_escape_rate": 0.6,
        "max_escape_rise": None,
        "max_overkill_rate": 0.6,
        "max_changed_verdicts": 1,
        "max_flipped_verdicts": 1,
    },
    "monitor": {"window": 60, "min_window": 20},
    "retrain": {"labels": 20, "wait_for_labels_s": 0},
}


# A worker that meets a long file last works on it alone while the others have nothing left to do.
LONGEST_FIRST = (
    "behaviour/test_demo.py",
    "behaviour/test_killed.py",
    "behaviour/test_deploy_killed.py",
    "behaviour/test_retraining.py",
    "behaviour/test_flows.py",
    "behaviour/test_orphans.py",
    "torture/test_campaign.py",
    "behaviour/test_odd_names.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((n for n, name in enumerate(LONGEST_FIRST) if path.endswith(name)), len(LONGEST_FIRST))

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or changes the places of the person who runs it."""
    for name in list(os.environ):
        if name.startswith(("DEFECTLOOP_", "PREFECT_", "MLFLOW_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")


@pytest.fixture(autouse=True)
def _artifacts_of_this_copy() -> None:
    """MLflow keeps in memory where the artifacts of a run are, by the run's id, which all copies of a workspace share."""
    if kept := sys.modules.get("mlflow.tracking._tracking_service.utils"):
        kept._artifact_repos_cache.clear()


def picture(seed: int, *, defective: bool, bright: bool = False) -> bytes:
    """PNG bytes of one part; the same seed gives the same part. A bright part is of another material, with grooves."""
    random = np.random.default_rng([seed, defective, bright])
    part = 110 + 60 * bright + 8 * random.standard_normal((64, 64))
    if bright:
        part += 25 * np.sign(np.sin(np.arange(64) / 2))
    if defective:
        row, column = random.integers(10, 40, 2)
        part[row : row + 14, column : column + 5] = 20
    return codec.encode_png(np.clip(part, 0, 255).astype(np.uint8))


def write_parts(folder: Path, n: int, *, first: int = 0, bright: bool = False) -> Path:
    """A class-per-folder delivery of `n` parts, a third of them defective."""
    for number in range(first, first + n):
        defective = number % 3 == 0
        path = folder / ("scratch" if defective else "good") / f"part{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, defective=defective, bright=bright))
    return folder


def change_params(workspace: Workspace, changes: dict) -> None:
    path = workspace.root / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, keys in changes.items():
        values[section] = values[section] | keys
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def make_workspace(root: Path) -> Workspace:
    workspace = init(root, LINE)
    change_params(workspace, SMALL)
    git.commit(workspace.root, ["params.yaml"], "Small numbers")
    return workspace


def stocked_workspace(root: Path, n: int = 60) -> Workspace:
    workspace = make_workspace(root / "workspace")
    ingest.ingest(workspace, str(write_parts(root / "stock", n)), slice="matt")
    return workspace


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` filled, once for all test processes. Copy it (`copied`): others read it too.

    It is made under another name: no copy can find anything by a path that was written down while it was made.
    """
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    root, begun = shared / f"made-{name}", shared / f"making-{name}"
    with (shared / f"made-{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not root.exists():
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            make(begun)
            begun.rename(root)
    return root


def copied(made: Path, folder: Path) -> Workspace:
    """The workspace of `made` in `folder`, with what lies beside it; hard links stay hard links, as DVC makes them."""
    subprocess.run(["cp", "-a", f"{made}/.", folder], check=True)
    return workspaces.at(folder / "workspace")


@pytest.fixture(scope="session")
def empty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "empty", lambda root: make_workspace(root / "workspace"))


@pytest.fixture(scope="session")
def stocked_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "stocked", stocked_workspace)


@pytest.fixture
def empty_workspace(tmp_path: Path, empty_root: Path) -> Workspace:
    return copied(empty_root, tmp_path)


@pytest.fixture
def workspace(tmp_path: Path, stocked_root: Path) -> Workspace:
    """60 labelled parts, not validated yet; their delivery lies beside it, in `stock`."""
    return copied(stocked_root, tmp_path)


@pytest.fixture(scope="session")
def made_champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose first detector is champion, made once for all test processes; only copies of it are used."""
    return made_once(tmp_path_factory, "champion", lambda root: make_champion(stocked_workspace(root)))


@pytest.fixture(scope="session")
def champion_root(tmp_path_factory: pytest.TempPathFactory, made_champion: Path) -> Path:
    """A workspace whose first detector is champion. Shared: tests that change the registry take their own."""
    return copied(made_champion, tmp_path_factory.mktemp("champion")).root


@pytest.fixture
def champion_workspace(champion_root: Path) -> Workspace:
    return workspaces.at(champion_root)


def make_champion(place: Workspace) -> None:
    """Every step from data to champion, without the flow around it."""
    from pipelines.adapters import dataset_versions
    from pipelines.promotion import promote
    from pipelines.snapshots import snapshot
    from pipelines.training import register
    from pipelines.validation import validate

    validate.validate(place)
    snapshot.snapshot(place)
    for stage in ("train", "export", "evaluate"):
        dataset_versions.run_stage(place, stage)
    version = register.register(place)
    assert promote.promote(place, version.version).promote


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    """Starts programs without the seconds that their imports take; for tests that run many, or long ones."""
    programs = Preloaded(tmp_path_factory.getbasetemp() / "exports")
    yield programs
    programs.end()


@pytest.fixture(scope="session", autouse=True)
def _stages_without_imports(preloaded: Preloaded) -> None:
    """A stage of `dvc.yaml` that this process runs has imported everything already."""
    import dvc.stage.run

    dvc.stage.run._run = stage_by(preloaded.run_stage)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def defectloop(tmp_path: Path, preloaded: Preloaded) -> Command:
    """Run the command line as a user does, `defectloop("ingest", folder, cwd=…)`, but without the time of its imports."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return preloaded.run("-m", "flows.cli", *arguments, cwd=cwd or tmp_path, **environment)

    return run


@pytest.fixture
def interpreted(tmp_path: Path) -> Command:
    """Run the command line in a new interpreter, for tests of what it imports or reads as it starts."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=cwd or tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def in_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command line as `defectloop` runs it, without the second that a process of its own costs."""
    from flows import cli

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = ["defectloop", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    before, umask = signal.getsignal(signal.SIGTERM), os.umask(0o022)
    yield run
    signal.signal(signal.SIGTERM, before)
    os.umask(umask)


@pytest.fixture
def own_champion(tmp_path: Path, made_champion: Path) -> Workspace:
    """A copy of the line with a champion that a test may change."""
    root = tmp_path / "own"
    subprocess.run(["cp", "-a", f"{made_champion}/workspace", root], check=True)
    return workspaces.at(root)
