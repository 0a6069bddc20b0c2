"""Put on PYTHONPATH by the kill tests: kills the whole process group when a named function is called, before or after.

KILL_AT is `module:function:before|after`, KILL_CALL the number of the call (from 1). Every process of the group reads it,
so that a stage that runs in a child process can be killed too.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys

MODULE, FUNCTION, WHEN = os.environ.get("KILL_AT", "::").split(":")
calls = 0


def kill() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def deadly(function):
    def wrapped(*arguments, **keywords):
        global calls
        calls += 1
        mine = calls == int(os.environ.get("KILL_CALL", "1"))
        if mine and WHEN == "before":
            kill()
        result = function(*arguments, **keywords)
        if mine:
            kill()
        return result

    return wrapped


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            owner, attribute = module, FUNCTION
            if "." in FUNCTION:
                kind, attribute = FUNCTION.split(".")
                owner = getattr(module, kind)
            setattr(owner, attribute, deadly(getattr(owner, attribute)))

        spec.loader.exec_module = exec_module
        return spec


if MODULE:
    sys.meta_path.insert(0, Finder())
