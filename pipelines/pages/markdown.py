"""Text from outside (file names, slices, labellers) inside a Markdown page: shown as it is, never taken as markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*\[\]|]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def inline(text: str) -> str:
    """One line of Markdown that renders as `text`, in a table's cell too: no HTML, no links, no further columns."""
    flat = " ".join(text.split())
    escaped = _MARKUP.sub(lambda match: "\\" + match[0], flat)
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], escaped)
