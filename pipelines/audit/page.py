"""The audit as one self-contained page: every finding with what it means, what to do, and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from models import images
from pipelines.audit.finding import Finding, Severity

TILE_PX = 160


def render(
    line: str, n_images: int, findings: Sequence[Finding], path_of: Callable[[str], Path], name_of: Mapping[str, str]
) -> str:
    """HTML. `path_of` and `name_of` give an image's file and the name it was delivered under."""
    template = Environment(loader=PackageLoader("pipelines.audit", "."), autoescape=True, undefined=StrictUndefined)
    return template.get_template("page.html").render(
        line=line,
        n_images=n_images,
        findings=findings,
        counts={severity: sum(item.severity is severity for item in findings) for severity in Severity},
        tile=lambda image: _tile(path_of(image)),
        name_of=name_of,
    )


def _tile(path: Path) -> str:
    """A data URI; JPEG, because a page holds hundreds."""
    image = images.to_rgb8(images.read(path))
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((TILE_PX, TILE_PX))
    sink = io.BytesIO()
    picture.save(sink, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
