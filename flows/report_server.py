"""Serves the reports of a workspace to a browser, and nothing else of it."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from models import names
from pipelines.pages import index
from pipelines.workspace import Workspace

SHOWN = {".html", ".css", ".js", ".json", ".png", ".jpg", ".jpeg", ".svg", ".csv", ".md", ".txt", ".woff2", ".ico"}


def folders(workspace: Workspace) -> dict[str, Path]:
    """Return the folders that hold reports, by the beginning of their address. Retrainings work in a clone of their own.

    The addresses are such that the relative links between the files of `reports/` and to both `artifacts/` work.
    """
    line, written = names.for_tools(workspace.params().line), index.folder(workspace)
    clone = workspace.state / "automation" / line / "artifacts"
    return {
        "artifacts": workspace.artifacts,
        "retraining": clone,
        f"automation/{line}/artifacts": clone,
        **{name: written / name for name in ("drift", "versions", "compare")},
    }


def reports(workspace: Workspace) -> dict[str, Path]:
    """Return the reports that exist, by title: those of the workspace, of the last retraining, and drift, newest first."""
    kept = folders(workspace)
    pages: dict[str, Path] = {}
    for whose, folder in ((" of the last retraining", kept["retraining"]), ("", kept["artifacts"])):
        pages |= {
            f"Evaluation{whose}": folder / "evaluate" / "report.html",
            f"Audit of the data{whose}": folder / "audit" / "report.html",
            f"Data contract{whose}": folder / "validate" / "data_docs" / "index.html",
        }
    compared = sorted(kept["compare"].glob("*.html"))
    pages |= {f"Versions {page.stem.replace('-', ' and ')} compared": page for page in compared}
    drifts = [page for page in kept["drift"].glob("*.html") if not page.name.endswith(index.DETAIL)]
    drifts = sorted(drifts, key=lambda page: page.stat().st_mtime, reverse=True)
    pages |= {f"Drift check {page.stem}": page for page in drifts}
    return {title: page for title, page in pages.items() if page.is_file()}


def address(workspace: Workspace, page: Path) -> str:
    """Return a report's path on the server. Raises ValueError for a file that the server does not serve."""
    for name, folder in folders(workspace).items():
        if page.resolve().is_relative_to(folder.resolve()):
            return quote(f"/{name}/{page.resolve().relative_to(folder.resolve()).as_posix()}")
    raise ValueError(f"{page} is no report")


@contextmanager
def served(workspace: Workspace, host: str, port: int) -> Iterator[None]:
    """Serve the reports during the block, in threads of this process."""

    class Handler(_Reports):
        place = workspace

    with ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Reports(SimpleHTTPRequestHandler):
    """Answers GET and HEAD for files in `folders`; every other path does not exist."""

    place: Workspace

    def send_head(self) -> Any:
        path = unquote(urlsplit(self.path).path)
        if path in ("/", "/index.html"):
            return self._index()
        if self._file(path) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        return str(self._file(unquote(urlsplit(path).path)))

    def _file(self, path: str) -> Path | None:
        """Return the file of an address, or None. Links that lead out of the folder are not followed."""
        served = (
            (folder, path.removeprefix(f"/{name}/"))
            for name, folder in folders(self.place).items()
            if path.startswith(f"/{name}/")
        )
        folder, inner = next(served, (None, ""))
        if folder is None:
            return None
        try:
            found = folder.joinpath(*inner.split("/")).resolve()
            inside = found.is_relative_to(folder.resolve()) and found.suffix in SHOWN and found.is_file()
        except (OSError, ValueError):  # a name that is too long, or contains a NUL
            return None
        return found if inside else None

    def _index(self) -> IO[bytes] | None:
        written = index.index_page(self.place)
        page = written.read_bytes() if written.exists() else _page(self.place).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)
        return None

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # reports are overwritten
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def _page(workspace: Workspace) -> str:
    line = html.escape(workspace.params().line)
    rows = "".join(
        f'<li><a href="{address(workspace, page)}">{html.escape(title)}</a></li>'
        for title, page in reports(workspace).items()
    )
    listed = f"<ul>{rows}</ul>" if rows else "<p>No report yet. Make one: defectloop train</p>"
    style = (
        "body{font:16px/1.6 sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#264653}a{color:#1f7a70}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reports of {line}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body><main><h1>Reports of {line}</h1>{listed}</main></body></html>"
    )
