"""Names that people give (lines, slices, types of defect, parts, files): free for people, encoded once for tools. Pure.

A name may hold any character that can be printed. Where a tool takes fewer, each other one becomes `_xHHHH_`, its code
point, as ISO/IEC 9075-14 (SQL/XML) writes it: letters, digits and underscores, which MLflow, git, Prefect and file
systems all take. It can be read back (`decoded`), and a name that a tool takes as it is stays as it is. One that is too
long for a tool is cut, and a short hash of the whole keeps it apart from others that begin alike; the ledger and the
tables have the whole.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from dataclasses import dataclass

from models.errors import BadInput

LONGEST = 255  # characters, of names that people give
_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")
_HASH_DIGITS = 8
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of a pair, line and paragraph ends
_TURNS_TEXT = re.compile("[\u202a-\u202e\u2066-\u2069]")  # a name would be shown otherwise than it is
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)  # Windows' devices


@dataclass(frozen=True)
class Tool:
    """What a tool takes: characters that stay (a regular expression for one of them), and how many bytes in UTF-8."""

    keeps: re.Pattern[str]
    longest_bytes: int


_ANYWHERE = Tool(re.compile(r"[\w.-]"), 200)  # MLflow's models and experiments, git's refs, Prefect's names, folders
_FILE = Tool(re.compile(r'[^/\\:*?"<>|]'), 200)
_MLFLOW_KEY = Tool(re.compile(r"[\w.\- :/]"), 220)  # of the 250 of a metric; the rest is what is measured


def problem(name: str) -> str | None:
    """Why this can be no name, as the end of a sentence; None where it can be one."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, more than {LONGEST}"
    return unprintable(name)


def unprintable(name: str) -> str | None:
    """Why a name can't be shown, whatever its length; None where it can."""
    for character in name:
        if unicodedata.category(character) in _UNPRINTABLE:
            kind = "no UTF-8" if "\ud800" <= character <= "\udfff" else "a control character"
            return f"holds {kind} ({shown(character)})"
        if _TURNS_TEXT.match(character):
            return f"holds a character that turns the text round (U+{ord(character):04X})"
    return None


def require(name: str | None, what: str) -> None:
    """Raise BadInput for what can be no name; None is no name and passes."""
    if name is not None and (wrong := problem(name)):
        raise BadInput(
            f"{what} {shown(name)[:60]!r} {wrong}.", next_step=f"Give it a name of 1 to {LONGEST} printable characters."
        )


def shown(text: str) -> str:
    """The text with `\\xHH` or `\\uHHHH` for what can't be printed: bytes that are no UTF-8, control characters."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, as JSON can write it
        data = text.encode("utf-8", "backslashreplace")
    plain = data.decode("utf-8", "backslashreplace")
    return "".join(_escape_sequence(character) for character in plain)


def for_tools(name: str) -> str:
    """The name of a line, for MLflow, git, Prefect and the file system alike."""
    return _encoded(name, _ANYWHERE, _unfit_alone(name))


def for_file(name: str) -> str:
    """The name of one file or folder, on any operating system."""
    return _encoded(name, _FILE, _unfit_alone(name) | ({0} if _DEVICE.match(name) else set()))


def for_mlflow_key(name: str) -> str:
    """The name of a slice or type, inside the name of a metric, parameter or tag."""
    # MLflow takes a key for a path, and refuses `a//b` and `a/../b`.
    is_path = posixpath.normpath(f"x{name}x") == f"x{name}x"
    return _encoded(name, _MLFLOW_KEY, set() if is_path else {at for at, one in enumerate(name) if one == "/"})


def decoded(text: str) -> str:
    """The name that was encoded, where it was not too long."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _encoded(name: str, tool: Tool, unfit: set[int]) -> str:
    """`unfit` are the places of characters that the tool takes elsewhere in a name."""
    tokens = [
        one if tool.keeps.match(one) and not unprintable(one) and at not in unfit else _escaped(one)
        for at, one in enumerate(name)
    ]
    for at, one in enumerate(tokens):
        if one == "_" and _ESCAPED.match("".join(tokens[at:])):  # looks escaped and is not
            tokens[at] = _escaped("_")
    return _shortened("".join(tokens), name, tool)


def _unfit_alone(name: str) -> set[int]:
    """What a name must not have that stands by itself: it is not hidden, no `..`, no lock of git."""
    unfit = {at for at, one in enumerate(name) if one == "." and name[at - 1 : at] == "."}
    if name[:1] in (".", "-"):
        unfit.add(0)
    if name[-1:] in (".", " ") or name.endswith(".lock"):
        unfit.add(len(name) - 1)
    return unfit


def _shortened(text: str, whole: str, tool: Tool) -> str:
    if len(text.encode()) <= tool.longest_bytes:
        return text
    end = f"-{hashlib.sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:_HASH_DIGITS]}"
    return text.encode()[: tool.longest_bytes - len(end)].decode(errors="ignore") + end


def _escaped(character: str) -> str:
    return f"_x{ord(character):04X}_"


def _escape_sequence(character: str) -> str:
    if unicodedata.category(character) in _UNPRINTABLE or _TURNS_TEXT.match(character):
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return character
