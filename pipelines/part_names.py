"""Which part an image shows: one rule for ingest, inspect, replay and the service alike. Pure.

A part's id is *stated* by whoever knows the part: the station that asks for a verdict, a manifest's column, a format's own
field, `--part`. Where none of them speaks, the line's pattern for file names may (`ingest.part_from`, or `--part-from` for
one call). A file's name alone states nothing: every folder has its 001.png. An image whose part nobody stated is a part of
its own, named after its bytes, so that the same picture is the same part wherever it appears, and no other picture is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from models.errors import BadInput

_UNSTATED = re.compile(r"image-[0-9a-f]{16}")
OPTION = "--part-from"
SETTING = "ingest.part_from"


@dataclass(frozen=True)
class InName:
    """What a pattern found in a file's name."""

    part: str
    view: str | None


@dataclass(frozen=True)
class PartPattern:
    """Where the file names of a line hold the part's id; `origin` is where the pattern stands."""

    expression: re.Pattern[str]
    origin: str

    def find(self, name: str) -> InName | None:
        """The part in the file's own name, or else in its path below the folder; None where neither holds one.

        The own name comes first because the folders around a file differ between a delivery and production.
        """
        own = PurePosixPath(name.replace("\\", "/"))
        for text in (own.name, own.as_posix()):
            match = self.expression.search(text)
            if match and (part := match.group(self._group())):
                view = match.group("view") if "view" in self.expression.groupindex else None
                return InName(part, view or None)
        return None

    def _group(self) -> int | str:
        """The group that is called `part`, or else the first one, or else the whole match."""
        if "part" in self.expression.groupindex:
            return "part"
        return min(self.expression.groups, 1)


def pattern(option: str | None, setting: str | None) -> PartPattern | None:
    """The pattern that counts: that of this call, or else the line's. An empty `option` means none for this call.

    Raises BadInput for an `option` that is no regular expression.
    """
    if option == "" or (option is None and setting is None):
        return None
    if option is None:
        return PartPattern(re.compile(setting or ""), SETTING)
    try:
        return PartPattern(re.compile(option), OPTION)
    except re.error as error:
        raise BadInput(f"{OPTION} {option!r}: {error}.", next_step="Give a regular expression.") from error


def unstated(image: str) -> str:
    """The name of a part that nobody stated, from the SHA-256 of its image."""
    return f"image-{image[:16]}"


def is_stated(part: str) -> bool:
    """Whether somebody stated this part; its name alone tells."""
    return _UNSTATED.fullmatch(part) is None
