"""Escapes text from outside (file names, slices, labellers) in Markdown, so that it is never read as markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*\[\]|]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def inline(text: str) -> str:
    """Return one line of Markdown that renders as `text`, also in a table cell: no HTML, links or extra columns."""
    flat = " ".join(text.split())
    escaped = _MARKUP.sub(lambda match: "\\" + match[0], flat)
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], escaped)
