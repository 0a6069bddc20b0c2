"""Which part an image shows: one rule for ingest, inspect and replay. Pure.

A part's id is *stated* by a source that knows the part: the station that requests a verdict, a manifest's column, a field
of the format, or `--part`. Otherwise, the line's pattern for file names may state it (`ingest.part_from`, or `--part-from`
for one call). A file name alone states nothing, because every folder may have a 001.png. An image without a stated part is
a part of its own, named after the hash of its bytes, so that the same image is the same part wherever it appears.
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
    """Part and view that a pattern found in a file name."""

    part: str
    view: str | None


@dataclass(frozen=True)
class PartPattern:
    """A pattern for the part's id in file names; `origin` is the option or setting that it comes from."""

    expression: re.Pattern[str]
    origin: str

    def find(self, name: str) -> InName | None:
        """Return the part in the file's own name, or else in its path below the folder, or None.

        The file's own name comes first, because folders differ between a delivery and production.
        """
        own = PurePosixPath(name.replace("\\", "/"))
        for text in (own.name, own.as_posix()):
            match = self.expression.search(text)
            if match and (part := match.group(self._group())):
                view = match.group("view") if "view" in self.expression.groupindex else None
                return InName(part, view or None)
        return None

    def _group(self) -> int | str:
        """Return the group named `part`, or else the first group, or else the whole match."""
        if "part" in self.expression.groupindex:
            return "part"
        return min(self.expression.groups, 1)


def pattern(option: str | None, setting: str | None) -> PartPattern | None:
    """Return the pattern of this call, or else the line's. An empty `option` means no pattern for this call.

    Raises BadInput if `option` is not a regular expression.
    """
    if option == "" or (option is None and setting is None):
        return None
    if option is None:
        return PartPattern(re.compile(setting or ""), SETTING)
    try:
        return PartPattern(re.compile(option), OPTION)
    except re.error as error:
        raise BadInput(f"{OPTION} {option!r}: {error}.", next_step="Correct the regular expression.") from error


def unstated(image: str) -> str:
    """Return the name of a part that was not stated, made from the SHA-256 of its image."""
    return f"image-{image[:16]}"


def is_stated(part: str) -> bool:
    """Return whether this part was stated, judged by its name."""
    return _UNSTATED.fullmatch(part) is None
