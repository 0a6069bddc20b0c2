"""A version of the code that computed something, for caches that outlive the code."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


def code_version(modules: Sequence[str], libraries: Sequence[str] = ("numpy", "pillow")) -> str:
    """A digest of the source of `modules` and the versions of `libraries`: other code, other folder. Imports none of them.

    A number raised by hand would be forgotten once, and then a detector learns from features that no code computes any
    more. A changed comment costs one computation too many.
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
