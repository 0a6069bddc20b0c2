"""The API's description as a page: from its OpenAPI document, without scripts, and readable in a plant without internet."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2930 }
h2 { font-size: 1.05rem; margin: 2rem 0 0; border-top: 1px solid #d5dde1; padding-top: 1rem }
code { background: #eef2f4; padding: 0 .25rem; overflow-wrap: anywhere }
table { border-collapse: collapse; margin: .5rem 0 } td { padding: .15rem 1rem .15rem 0; vertical-align: top }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"


def page(document: dict[str, Any]) -> str:
    """Return the page as HTML. `document` is the OpenAPI document of the application."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    operations = "\n".join(
        _operation(method.upper(), path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><main><h1>{title}</h1><p>{escape(document['info']['description'])} "
        "Requests below /v1 need the header <code>Authorization: Bearer KEY</code>. For programs: "
        f'<a href="/openapi.json">openapi.json</a>.</p>\n{operations}</main></html>'
    )


def _operation(method: str, path: str, said: dict[str, Any]) -> str:
    about = ". ".join(text for text in (said.get("summary"), said.get("description")) if text)
    return (
        f"<h2><code>{method} {escape(path)}</code></h2><p>{escape(about)}</p>"
        f"{_table(_fields(said))}{_table(_answers(said))}"
    )


def _fields(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for field in said.get("parameters", ()):
        must = ", required" if field.get("required") else ""
        yield field["name"], f"{field['in']}{must}. {field.get('description', '')}"
    if kinds := said.get("requestBody", {}).get("content"):
        yield "body", ", ".join(kinds)


def _answers(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((status, answer.get("description", "")) for status, answer in sorted(said["responses"].items()))


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><code>{escape(name)}</code><td>{escape(text)}" for name, text in rows)
    return f"<table>{cells}</table>" if cells else ""
