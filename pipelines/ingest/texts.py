"""Reads text, JSON and YAML files of a delivery. Errors name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.errors import BadData
from pipelines.ingest.delivery_folder import DeliveryFolder

_MOST_JSON_FILES = 100  # per folder; more means one file per image, which none of the supported formats has


def read_text(folder: DeliveryFolder, path: Path) -> str:
    """Read UTF-8 text, with or without a byte order mark. Raises BadData with the line of the first invalid byte."""
    data = folder.read(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not valid UTF-8.",
            next_step="Save the file as UTF-8.",
        ) from error


def read_json(folder: DeliveryFolder, path: Path) -> Any:
    try:
        return json.loads(read_text(folder, path))
    except json.JSONDecodeError as error:
        raise BadData(
            f"{path}, line {error.lineno}: {error.msg}.", next_step="Correct the file, or export it again."
        ) from error
    except RecursionError as error:
        raise BadData(f"{path} is nested too deeply.", next_step="Export it again.") from error
    except ValueError as error:  # a number with thousands of digits
        raise BadData(f"{path}: a number cannot be read: {error}.", next_step="Correct the file.") from error


def read_yaml(folder: DeliveryFolder, path: Path) -> Any:
    import yaml

    from models import yaml_text

    try:
        return yaml_text.load(read_text(folder, path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or (str(error) if not mark else "not valid YAML")
        raise BadData(f"{path}{where}: {reason}.", next_step="Correct the file.") from error


def json_files(folder: DeliveryFolder, holds: Callable[[bytes], bool]) -> list[Path]:
    """Return the JSON file itself, or those in a folder and its `annotations/`, whose content passes the test `holds`."""
    path = folder.named
    if path.is_dir():
        files = [file for place in (path, path / "annotations") for file in sorted(place.glob("*.json"))]
        files = files if len(files) <= _MOST_JSON_FILES else []
    else:
        files = [path] if path.suffix.lower() == ".json" else []
    return [file for file in files if folder.file(file) and holds(folder.read(file))]


def only_json_file(folder: DeliveryFolder, holds: Callable[[bytes], bool], kind: str) -> Path:
    """Return the file itself, or the only file of this kind in the folder. Raises BadData if it has none or several."""
    path = folder.named
    if path.is_file():
        return path
    files = json_files(folder, holds)
    if len(files) != 1:
        names = ", ".join(file.relative_to(path).as_posix() for file in files) or "none"
        raise BadData(
            f"{path} has {len(files)} {kind} files ({names}) instead of one.",
            next_step=f"defectloop ingest {files[0] if files else path / 'FILE.json'}",
        )
    return files[0]
