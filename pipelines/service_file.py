"""`service.yaml`: how a line is operated. Unlike `params.yaml` it changes no result, so it is not part of any hash.

Each section belongs to one room, which states its type: `serve` to `pipelines.serving`, `connectors` to
`pipelines.connectors`, `retention` to `pipelines.retention`. A missing file or section has the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from models import yaml_text
from models.errors import BadParams

FILE = "service.yaml"
SECTIONS = ("serve", "connectors", "retention")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=BaseModel)


def section(root: Path, name: str, type_: type[S], given: Mapping[str, object] | None = None) -> S:
    """Return a section of the `service.yaml` in `root`, with the values of options that were `given` instead of its own.

    Raises BadParams that names the key and what is expected.
    """
    path = root / FILE
    values = _sections(path).get(name) or {}
    try:
        return type_.model_validate({**values, **given} if given and isinstance(values, dict) else values)
    except ValidationError as error:
        problems = "; ".join(_told(name, problem) for problem in error.errors())
        page = "docs/connectors.md" if name == "connectors" else "docs/service.md"
        raise BadParams(f"{path}: {problems}.", next_step=f"Correct the file; {page} lists every key.") from error


def _told(name: str, problem: Any) -> str:
    """Return one problem as key and reason."""
    key = ".".join((name, *(str(step) for step in problem["loc"] if step != "[key]")))
    if problem["type"] == "extra_forbidden":
        return f"{key} is an unknown key"
    if problem["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _sections(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadParams(f"{path} cannot be read: {error}.", next_step="Save it as readable UTF-8 text.") from error
    try:
        values = yaml_text.load(text) or {}
    except yaml.YAMLError as error:
        raise BadParams(f"{path} is not YAML: {error}.", next_step="Correct the file.") from error
    if not isinstance(values, dict):
        raise BadParams(f"{path} is not a mapping of sections.", next_step=f"Its sections: {', '.join(SECTIONS)}.")
    if unknown := sorted(set(map(str, values)) - set(SECTIONS)):
        raise BadParams(f"{path}: unknown section {unknown[0]!r}.", next_step=f"Its sections: {', '.join(SECTIONS)}.")
    return values
