"""Names that people choose (lines, slices, defect types, parts, files), and their encoding for tools. Pure.

A name may contain any printable character. If a tool allows fewer, each other character becomes `_xHHHH_`, its code point,
as in ISO/IEC 9075-14 (SQL/XML). The result has only letters, digits and underscores, which MLflow, git, Prefect and file
systems all allow, and can be decoded (`decoded`). Names that a tool allows are not changed. A name that is too long for a
tool is cut, and a short hash of the whole name keeps it unique; the ledger and the tables store the whole name.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from dataclasses import dataclass

from models.errors import BadInput

LONGEST = 255  # characters
_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")
_HASH_DIGITS = 8
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of a pair, line and paragraph ends
_TURNS_TEXT = re.compile("[\u202a-\u202e\u2066-\u2069]")  # bidirectional controls, which change how a name is displayed
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)  # device names on Windows


@dataclass(frozen=True)
class Tool:
    """What a tool allows: a regular expression for an allowed character, and the maximum length in UTF-8 bytes."""

    keeps: re.Pattern[str]
    longest_bytes: int


_ANYWHERE = Tool(re.compile(r"[\w.-]"), 200)  # MLflow's models and experiments, git's refs, Prefect's names, folders
_FILE = Tool(re.compile(r'[^/\\:*?"<>|]'), 200)
_MLFLOW_KEY = Tool(re.compile(r"[\w.\- :/]"), 220)  # of 250 for a metric; the rest is the metric's own name


def problem(name: str) -> str | None:
    """Return why a name is invalid, as the end of a sentence, or None."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, more than {LONGEST}"
    return unprintable(name)


def unprintable(name: str) -> str | None:
    """Return why a name cannot be displayed, as the end of a sentence, or None."""
    for character in name:
        if unicodedata.category(character) in _UNPRINTABLE:
            kind = "invalid UTF-8" if "\ud800" <= character <= "\udfff" else "a control character"
            return f"contains {kind} ({shown(character)})"
        if _TURNS_TEXT.match(character):
            return f"contains a character that changes the text direction (U+{ord(character):04X})"
    return None


def require(name: str | None, what: str) -> None:
    """Raise BadInput for an invalid name. None is allowed."""
    if name is not None and (wrong := problem(name)):
        raise BadInput(
            f"{what} {shown(name)[:60]!r} {wrong}.", next_step=f"Use a name of 1 to {LONGEST} printable characters."
        )


def shown(text: str) -> str:
    """Return the text with `\\xHH` or `\\uHHHH` for unprintable characters: invalid UTF-8 and control characters."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, as JSON can write it
        data = text.encode("utf-8", "backslashreplace")
    plain = data.decode("utf-8", "backslashreplace")
    return "".join(_escape_sequence(character) for character in plain)


def for_tools(name: str) -> str:
    """Encode the name of a line for MLflow, git, Prefect and the file system."""
    return _encoded(name, _ANYWHERE, _unfit_alone(name))


def for_file(name: str) -> str:
    """Encode a name as that of one file or folder on any operating system."""
    return _encoded(name, _FILE, _unfit_alone(name) | ({0} if _DEVICE.match(name) else set()))


def for_mlflow_key(name: str) -> str:
    """Encode the name of a slice or type as part of the name of a metric, parameter or tag."""
    # MLflow reads a key as a path, and refuses `a//b` and `a/../b`. The name is a part of it: `test/a b/f1`.
    is_path = posixpath.normpath(f"x/{name}/x") == f"x/{name}/x"
    unfit = "." if name in (".", "..") else "/"
    return _encoded(name, _MLFLOW_KEY, set() if is_path else {at for at, one in enumerate(name) if one in unfit})


def decoded(text: str) -> str:
    """Return the original name of an encoded one, if it was not cut."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _encoded(name: str, tool: Tool, unfit: set[int]) -> str:
    """Encode a name. `unfit` are the indices of characters that the tool does not allow at their place."""
    tokens = [
        one if tool.keeps.match(one) and not unprintable(one) and at not in unfit else _escaped(one)
        for at, one in enumerate(name)
    ]
    for at, one in enumerate(tokens):
        if one == "_" and _ESCAPED.match("".join(tokens[at:])):  # looks like an escape sequence, but is not
            tokens[at] = _escaped("_")
    return _shortened("".join(tokens), name, tool)


def _unfit_alone(name: str) -> set[int]:
    """Return the indices of characters that are not allowed there: no hidden name, no `..`, no `.lock`."""
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
