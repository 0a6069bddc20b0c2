"""Run every command in UTF-8, whatever the locale. Characters that the terminal cannot show are printed as escapes."""

from __future__ import annotations

import codecs
import locale
import os
import sys


def in_utf8() -> None:
    """Restart this program in Python's UTF-8 mode if the locale's encoding is not UTF-8 (`LC_ALL=C PYTHONUTF8=0`).

    File names, params.yaml and the output of git and DVC are UTF-8. Reading them as ASCII would abort commands.
    """
    if sys.flags.utf8_mode or _is_utf8(locale.getencoding()) or os.environ.get("PYTHONUTF8") == "1":
        return
    shown = sys.stdout.encoding if sys.stdout else "ascii"
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{shown}:backslashreplace"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def shows_all() -> bool:
    """Return whether standard output can encode every character."""
    return sys.stdout is None or _is_utf8(sys.stdout.encoding or "ascii")


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"
