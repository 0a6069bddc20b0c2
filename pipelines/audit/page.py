"""The audit as one self-contained page: every finding with explanation, advice and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models.images import codec
from pipelines.audit.finding import Finding, Severity
from pipelines.pages import page
from pipelines.pages.page import Header
from pipelines.pages.pictures import data_uri

TILE_PX = 240


def render(
    header: Header,
    n_images: int,
    findings: Sequence[Finding],
    path_of: Callable[[str], Path],
    name_of: Mapping[str, str],
) -> str:
    """Return the page as HTML. `path_of` and `name_of` give an image's file and its delivery path."""
    return page.render(
        "pipelines.audit",
        "page.html",
        header,
        n_images=n_images,
        findings=findings,
        counts={severity: sum(item.severity is severity for item in findings) for severity in Severity},
        tile=lambda image: data_uri(codec.read(path_of(image)), TILE_PX),
        name_of=name_of,
    )
