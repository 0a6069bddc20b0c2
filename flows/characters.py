"""Every command works in UTF-8, whatever the locale; what its terminal can't show is shown as an escape."""

from __future__ import annotations

import codecs
import locale
import os
import sys


def in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode where the locale is another one (`LC_ALL=C PYTHONUTF8=0`).

    Names of files, params.yaml and what git and DVC say are UTF-8; read in ASCII they would end commands half way.
    """
    if sys.flags.utf8_mode or _is_utf8(locale.getencoding()) or os.environ.get("PYTHONUTF8") == "1":
        return
    shown = sys.stdout.encoding if sys.stdout else "ascii"
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{shown}:backslashreplace"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def shows_all() -> bool:
    """Whether standard output takes every character."""
    return sys.stdout is None or _is_utf8(sys.stdout.encoding or "ascii")


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"
