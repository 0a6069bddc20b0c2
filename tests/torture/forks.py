"""Commands as forks of one process that has imported everything: what a kill interrupts is work, not imports.

Three things are not as in production. A stage of `dvc.yaml` is a fork of the process that runs it, where a shell would start
a new one; flows run without Prefect; and what torch exported once is kept. `make torture` has real programs beside these.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import math
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from models.files import write_whole

LOG = "output.log"
POLL_S = 0.005
IMPORTED = (
    "alembic.command",
    "dulwich.repo",
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo",
    "dvc.scm",
    "dvc_render",
    "evidently",
    "flows.batch_inspection",
    "flows.cli",
    "flows.monitoring",
    "flows.retraining",
    "flows.reviewing",
    "flows.training",
    "great_expectations.render",
    "lightning.pytorch.loggers",
    "mlflow.genai",
    "mlflow.onnx",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "networkx",
    "onnxscript",
    "pipelines.adapters.data_contract",
    "pipelines.adapters.drift",
    "pipelines.audit.audit",
    "pipelines.training.evaluate",
    "pipelines.training.export",
    "pipelines.snapshots.history",
    "pipelines.merging.merge",
    "pipelines.monitoring.monitor",
    "pipelines.inspection.predict",
    "pipelines.promotion.promote",
    "pipelines.training.register",
    "pipelines.synthesis.synthesis_page",
    "pipelines.synthesis.synthesize",
    "pipelines.training.train",
    "plotly.validators",
    "pyarrow.dataset",
    "pygit2",
    "scmrepo.git",
    "sqlalchemy.dialects.sqlite",
    "torch._dynamo",
    "torch.onnx._internal.exporter._core",
    "zc.lockfile",
)
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",  # a fork of a process that has threads of its own could wait for one that it lacks
    "OPENBLAS_NUM_THREADS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def prepare(home: Path) -> None:
    """Make this process one to fork commands from; call it before anything else was imported that reads the environment."""
    load(home)
    _without_prefect()
    _stages_as_forks()
    keep_exports(home / "exports")


def load(home: Path) -> None:
    """Import everything once."""
    for name in list(os.environ):
        if name.startswith(("DEFECTLOOP_", "PREFECT_", "MLFLOW_", "AWS_", "GIT_")):
            del os.environ[name]
    os.environ.update(ENVIRONMENT | {"PREFECT_HOME": str(home / "prefect")})
    for name in IMPORTED:
        importlib.import_module(name)


def start(action: Callable[[], int], directory: Path, before: Callable[[], None] = lambda: None) -> int:
    """Run `action` in `directory` in a fork that leads a session of its own; returns its process id.

    `before` runs in the fork first. What it prints is appended to `LOG` in `directory`.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            _own_places(directory)
            before()
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            _end(code)
    return pid


def wait(pid: int, limit_s: float = math.inf) -> int | None:
    """The exit code of a fork; negative: the signal that ended it; None: it still runs."""
    deadline = time.monotonic() + limit_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG if limit_s < math.inf else 0)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_S)


def left(sessions: Collection[int]) -> list[int]:
    """Processes that still run in these sessions: what forks started and did not end."""
    running = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if (
                name.isdigit()
                and os.getsid(int(name)) in sessions
                and " Z " not in Path(f"/proc/{name}/stat").read_text()
            ):
                running.append(int(name))
    return running


def _own_places(directory: Path) -> None:
    import tempfile

    os.chdir(directory)
    (directory / "tmp").mkdir(exist_ok=True)
    os.environ |= {"TMPDIR": str(directory / "tmp"), "DVC_SITE_CACHE_DIR": str(directory / "site")}
    tempfile.tempdir = None
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate((nothing, log, log)):
        os.dup2(stream, number)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _without_prefect() -> None:
    """Flows and tasks as the functions that they are, nothing shown in its UI, and no server."""
    import prefect

    from flows import artifacts, local_server

    prefect.Flow.__call__ = lambda self, *arguments, **named: self.fn(*arguments, **named)
    prefect.Task.__call__ = lambda self, *arguments, **named: self.fn(*arguments, **named)
    artifacts.create_markdown_artifact = lambda *_, **__: None
    local_server.for_one_command = lambda workspace: None


def keep_exports(folder: Path) -> None:
    """torch takes seconds to export the same network to the same graph again. All workspaces share the traced graphs."""
    import onnx
    import torch

    from models.detector import onnx_graphs

    really = onnx_graphs.export
    folder.mkdir(parents=True, exist_ok=True)

    def export(network, image_size_px: int, outputs: Sequence[str], cache: Path | None = None):
        weights = io.BytesIO()
        torch.save((image_size_px, list(outputs), _shape(network), network.state_dict()), weights)
        kept = folder / hashlib.sha256(weights.getvalue()).hexdigest()
        if not kept.exists():
            graph = really(network, image_size_px, outputs, folder / "traced")
            write_whole(kept, graph.SerializeToString(), durable=False)
        return onnx.load_from_string(kept.read_bytes())

    replace_everywhere(really, export)


def _shape(network) -> list[str]:
    """Everything of a network but its weights that can make two graphs differ."""
    return [
        f"{name} {type(module).__qualname__} {module.extra_repr()} "
        f"{[(key, value) for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)]}"
        for name, module in network.eval().named_modules()
    ]


def replace_everywhere(old: Callable, new: Callable) -> None:
    """Under all names that our modules, imported already, know it by."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("models", "pipelines", "flows"):
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def _stages_as_forks() -> None:
    import dvc.stage.run

    dvc.stage.run._run = _run_stage


def _run_stage(executable: str, command: str, **how) -> None:
    from dvc.stage.exceptions import StageCmdFailedError

    module = command.removeprefix("python -m ")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.closerange(3, 1024)  # as in a new process; a lock must not outlive the one that took it
            os.environ.clear()
            os.environ.update(how["env"])
            os.chdir(how["cwd"])
            sys.argv, sys.stdout, sys.stderr = [module], sys.__stdout__, sys.__stderr__
            sys.modules.pop(module, None)
            runpy.run_module(module, run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            _end(code)
    code = wait(pid)
    if code:
        raise StageCmdFailedError(command, code)
