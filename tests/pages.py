"""What every page of a report owes its reader, checked without a browser, and its width in one."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "needs Chromium (apt install chromium) to lay a page out"


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.targets: list[str] = []
        self.nameless: list[str] = []
        self.policy = ""
        self.script: dict[str, str | None] | None = None
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.targets += [values[name] or "" for name in ("href", "src") if name in values]
        if tag == "img" and not values.get("alt") and values.get("src") != "data:,":
            self.nameless.append(str(values.get("src"))[:40])
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values.get("content") or ""
        self.script = values if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self.script is not None and self.script.get("type") != "application/json":
            self.scripts.append(data)
            self.script = None


def faults(page: Path) -> list[str]:
    """Return what is wrong with a page: structure, pictures without words, outside resources, links that lead nowhere."""
    text = page.read_text()
    found = _Page(text)
    wrong = [f"{found.counts.get(tag, 0)} <{tag}>" for tag in ("main", "h1", "header") if found.counts.get(tag) != 1]
    wrong += [f"picture without words: {source}" for source in found.nameless]
    wrong += [f"outside: {one}" for one in found.targets if re.match(r"(https?:|file:|//|/)", one)]
    inside = (one for one in found.targets if not one.startswith(("data:", "#", "http", "file")))
    wrong += [f"leads nowhere: {one}" for one in inside if not (page.parent / one).exists()]
    for script in found.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        wrong += [] if f"'sha256-{digest}'" in found.policy else [f"a script that the page forbids: {script[:60]}"]
    return wrong


def width(page: Path, folder: Path, at_px: int = 400) -> int:
    """Return the width in pixels that the page needs in a window of `at_px`: Chromium's own windows are 500 px or wider."""
    assert CHROMIUM is not None, NO_CHROMIUM
    frame = f'<iframe style="width:{at_px}px;height:900px;border:0" srcdoc="{html.escape(page.read_text())}"></iframe>'
    needed = "document.querySelector('iframe').contentDocument.documentElement.scrollWidth"
    measured = f"onload = () => {{ document.title = 'px' + {needed} }}"
    (folder / "host.html").write_text(f"<!doctype html><script>{measured}</script>{frame}")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--virtual-time-budget=4000",
        f"--user-data-dir={folder / 'profile'}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "host.html").as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = re.search(r"<title>px(\d+)</title>", done.stdout)
    assert found is not None, done.stderr[-2000:]
    return int(found[1])
