"""Programs as forks of one process that has imported everything; started by `tests.programs`.

A fork runs what a new interpreter would run, without the twenty seconds that importing torch, MLflow and the rest costs it.
It leads a session of its own, has its own environment, directory, output and exit code, and dies of a SIGKILL as any other.
The stages of `dvc.yaml` are forks too: of a process without threads that stands where the shell stands in production.
What torch exported once is kept.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import socket
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture import forks

LARGEST = 1 << 20  # bytes of a request: the environment above all


def serve(requests: socket.socket) -> None:
    """Fork a program for every request until nobody can make one any more; say how each ends."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    pid, caller = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _answer(caller, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    caller.close()
                    continue
                message, files, *_ = socket.recv_fds(requests, LARGEST, 3)
                if not message:
                    return
                caller = socket.socket(fileno=files[0])
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(message), files[1:])
                for file in files[1:]:
                    os.close(file)
                _answer(caller, pid)
                end = os.pidfd_open(pid)
                running[end] = (pid, caller)
                selector.register(end, selectors.EVENT_READ)


def _answer(caller: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # who asked is gone
        caller.sendall(array.array("q", [number]).tobytes())


def _become(request: dict[str, Any], files: list[int]) -> None:
    """In a fork: be the program that is asked for, to its end."""
    code = 1
    try:
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *files)):
            os.dup2(file, number)
        os.closerange(3, 1024)
        if request["stage"]:
            code = _ended(lambda: _run_stage(request))
        else:
            os.setsid()
            _take_place(request)
            code = _ended(lambda: _run_program(request["words"]))
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _take_place(request: dict[str, Any]) -> None:
    """Directory, environment, and what was read from the environment at import."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    tempfile.tempdir = None
    random.seed()
    _follow_prefect()
    if os.environ.get("KILL_AT", "::") != "::":
        _install_kill()
    _start_stages_with(_stage_starter())


def _run_program(words: list[str]) -> None:
    """What the interpreter does with these words."""
    kind, what, *_ = words
    if kind == "-m":
        sys.argv = [what, *words[2:]]
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    assert kind == "-c", words
    sys.argv = ["-c", *words[2:]]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), vars(module))


def _run_stage(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    _run_program(["-m", request["module"]])


def _ended(program: Callable[[], object]) -> int:
    """Run it to its end as an interpreter does: threads that are waited for, and what was left to be done at exit."""
    code = 0
    try:
        program()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(ended.code + "\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    return code


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _follow_prefect() -> None:
    """Prefect read its settings when it was imported, and no program had said yet which server it uses."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    from flows import home

    def followed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            refresh_global_settings_context()
            setup_logging(incremental=False)
            return result

        return call

    home.use, home.use_temporary = followed(home.use), followed(home.use_temporary)
    refresh_global_settings_context()
    setup_logging(incremental=False)


def _install_kill() -> None:
    from tests.behaviour import sitecustomize

    module, function, when, call = sitecustomize.chosen()
    forks.replace_everywhere(*sitecustomize.install(importlib.import_module(module), function, when, call))


def _stage_starter() -> socket.socket:
    """A child of the present program that forks a stage whenever it is asked to, as long as the program lives."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        its.close()
        return mine
    mine.close()
    while message := its.recv(LARGEST):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                its.close()
                code = _ended(lambda: _run_stage(json.loads(message)))
            finally:
                _end(code)
        _answer(its, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _start_stages_with(starter: socket.socket) -> None:
    import dvc.stage.run

    from tests.programs import stage_by

    def ask(request: dict[str, Any]) -> int:
        starter.sendall(json.dumps(request).encode())
        answer = starter.recv(8)
        return int(array.array("q", answer)[0])

    dvc.stage.run._run = stage_by(ask)


def main(descriptor: int, exports: Path) -> None:
    requests = socket.socket(fileno=descriptor)
    with tempfile.TemporaryDirectory(prefix="defectloop-preloaded-") as folder:
        forks.load(Path(folder))
        forks.keep_exports(exports)
        importlib.import_module("tests.behaviour.sitecustomize")
        importlib.import_module("tests.programs")
        assert threading.active_count() == 1, f"{threading.enumerate()}: forks would lack all but the first"
        gc.collect()
        gc.freeze()  # else collecting garbage copies every page in every fork
        serve(requests)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
