"""The common shape of all pages: header, style, and the scripts for galleries. Pages are single files without resources.

Only the scripts of this folder may run, by their hashes (Content-Security-Policy), whatever a data value contains.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.params import Cost

SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.js"))}
_HASHES = " ".join(
    f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in SCRIPTS.values()
)
_HEADER = re.compile(r"<!-- header -->.*?<!-- end of header -->\n?", re.DOTALL)


@dataclass(frozen=True)
class Header:
    """What a page is about. `facts` are (name, text); `links` are (words, target relative to the page)."""

    line: str
    title: str
    facts: Sequence[tuple[str, str]] = ()
    links: Sequence[tuple[str, str]] = ()


def render(package: str, template: str, header: Header, **values: object) -> str:
    """Return the page as HTML. `template` lies in `package` and extends `base.html`."""
    return _environment(package).get_template(template).render(header=header, **values)


def with_header(html: str, header: Header) -> str:
    """Return a finished page with another header. A page without a header (of an older release) stays as it is."""
    shown = _environment("pipelines.pages").get_template("header.html").render(header=header)
    return _HEADER.sub(lambda _: f"{shown}\n", html, count=1)


def costs(cost: Cost) -> str:
    """Format the costs on which verdicts and comparisons rest."""
    return f"escape {cost.escape:g}, overkill {cost.overkill:g}, review {cost.review:g}"


def _environment(package: str) -> Environment:
    folders = ChoiceLoader([PackageLoader(package, "."), PackageLoader("pipelines.pages", ".")])
    environment = Environment(loader=folders, autoescape=True, undefined=StrictUndefined)
    environment.globals |= {"script": lambda name: Markup(SCRIPTS[name]), "script_hashes": Markup(_HASHES)}
    return environment
