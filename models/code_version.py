"""A version of the code, used in the keys of caches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


def code_version(modules: Sequence[str], libraries: Sequence[str] = ("numpy", "pillow")) -> str:
    """Return a digest of the source of `modules` and the versions of `libraries`. Imports none of them.

    A version number that is increased by hand is easily forgotten, and training would then use outdated features. A digest
    only costs an unnecessary computation after a changed comment.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"there is no module {name}")
        digest.update(Path(spec.origin).read_bytes())
    for name in libraries:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()[:16]
