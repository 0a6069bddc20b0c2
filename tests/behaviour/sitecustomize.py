"""Put on PYTHONPATH by the kill tests: kills the whole process group when a named function is called, before or after.

KILL_AT is `module:function:before|after`, KILL_CALL the number of the call (from 1). Every process of the group reads it,
so that a stage that runs in a child process can be killed too.
"""

import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys

calls = 0


def kill() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def deadly(function, when, call):
    def wrapped(*arguments, **keywords):
        global calls
        calls += 1
        mine = calls == call
        if mine and when == "before":
            kill()
        result = function(*arguments, **keywords)
        if mine:
            kill()
        return result

    return wrapped


def chosen():
    """Module, function, when and at which call; all of them empty where nothing is to be killed."""
    return (*os.environ.get("KILL_AT", "::").split(":"), int(os.environ.get("KILL_CALL", "1")))


def install(module, function, when, call):
    """Make the function of this module deadly; returns the one that it was, and what it is now."""
    owner, attribute = module, function
    if "." in function:
        kind, attribute = function.split(".")
        owner = getattr(module, kind)
    harmless = getattr(owner, attribute)
    setattr(owner, attribute, deadly(harmless, when, call))
    return harmless, getattr(owner, attribute)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        wanted, *what = chosen()
        if name != wanted:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            install(module, *what)

        spec.loader.exec_module = exec_module
        return spec


if chosen()[0]:
    sys.meta_path.insert(0, Finder())
