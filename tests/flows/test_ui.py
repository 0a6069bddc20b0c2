"""`defectloop ui` shows MLflow, Prefect and the reports, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import pytest

from flows import home, local_server, report_server, viewers
from pipelines.pages import index
from pipelines.workspace import Workspace
from tests.conftest import LINE

KEPT = sorted((Path(__file__).parents[1] / "kept").glob("*.tar.xz"))[-1]


def status_of(url: str, body: dict | None = None, method: str | None = None) -> int:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def reports(empty_workspace: Workspace) -> Iterator[str]:
    for name in (
        "artifacts/evaluate/report.html",
        ".defectloop/reports/drift/v1-7.html",
        "artifacts/train/detector.ckpt",
    ):
        path = empty_workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<p>here</p>")
    (empty_workspace.artifacts / "link.html").symlink_to(empty_workspace.root / "params.yaml")
    port = local_server.claim(None)
    with report_server.served(empty_workspace, viewers.HOST, port):
        yield f"http://{viewers.HOST}:{port}"


def test_the_reports_have_a_page_that_links_each_of_them(reports: str) -> None:
    with urllib.request.urlopen(reports) as answer:
        page = answer.read().decode()
    assert LINE in page
    for link in ("/artifacts/evaluate/report.html", "/drift/v1-7.html"):
        assert f'href="{link}"' in page
        assert status_of(reports + link) == 200


def test_every_link_of_the_written_index_leads_somewhere(empty_workspace: Workspace) -> None:
    clone = empty_workspace.state / "automation" / LINE / "artifacts" / "audit" / "report.html"
    for page in (
        index.version_page(empty_workspace, "1"),
        index.comparison_page(empty_workspace, "1", "2"),
        index.drift_page(empty_workspace, "1", 7),
        empty_workspace.artifacts / "audit" / "report.html",
        clone,
    ):
        page.parent.mkdir(parents=True)
        page.write_text("<p>here</p>")
    index.write(empty_workspace)
    port = local_server.claim(None)
    with report_server.served(empty_workspace, viewers.HOST, port):
        root = f"http://{viewers.HOST}:{port}/"
        with urllib.request.urlopen(root) as answer:
            links = set(re.findall(r'href="([^"#]+)"', answer.read().decode()))
        assert len(links) == 4
        assert {link: status_of(urljoin(root, link)) for link in links} == dict.fromkeys(links, 200)
        from_a_drift_report = index.relative(clone, index.drift_page(empty_workspace, "1", 7))
        assert status_of(urljoin(f"{root}drift/v1-7.html", from_a_drift_report)) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/params.yaml",
        "/artifacts/../params.yaml",
        "/artifacts/%2e%2e/params.yaml",
        "/artifacts/train/detector.ckpt",
        "/artifacts/link.html",
        "/artifacts/",
        "/artifacts",
        "/.defectloop/ledger.db",
        "/%00",
    ],
)
def test_nothing_but_reports_is_served(reports: str, path: str) -> None:
    assert status_of(reports + path) == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_report_cannot_be_changed_over_http(reports: str, method: str) -> None:
    assert status_of(f"{reports}/artifacts/evaluate/report.html", {}, method) == 501


def test_the_server_of_a_running_deploy_is_named_and_no_second_one_started(
    empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for name in ("PREFECT_HOME", "PREFECT_API_URL"):
        monkeypatch.setenv(name, "")  # what `home.use` sets is undone after the test
    with ThreadingHTTPServer((viewers.HOST, 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://{viewers.HOST}:{server.server_port}"
        note = home.server_note(empty_workspace)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"api_url": f"{address}/api"}))
        (note.parent / "prefect.db").touch()
        with viewers.opened(empty_workspace, None, None, None) as (found, servers):
            assert (found.mlflow, found.prefect, servers.running) == (None, address, [])
        server.shutdown()


@pytest.mark.slow
def test_looking_changes_nothing_starts_nothing_and_leaves_nothing_running(tmp_path: Path) -> None:
    subprocess.run(["tar", "-C", tmp_path, "-xJf", KEPT], check=True)
    state = tmp_path / "workspace" / ".defectloop"
    (state / "prefect").mkdir()
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
        env=os.environ | {"PREFECT_HOME": str(state / "prefect"), "DO_NOT_TRACK": "1"},
        check=True,
        capture_output=True,
    )
    command = [sys.executable, "-m", "flows.cli", "ui", "--json", "-w", str(tmp_path / "workspace")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:
        try:
            assert shown.stdout is not None
            found = json.loads(shown.stdout.readline())
            mlflow, _, page = found["mlflow"].partition("#")
            assert page == "/experiments/1/runs?workflowType=machine_learning"
            assert status_of(f"{mlflow}api/2.0/mlflow/experiments/search", {"max_results": 5}) == 200
            assert status_of(f"{mlflow}api/2.0/mlflow/experiments/create", {"name": "another"}) >= 400
            assert status_of(f"{found['prefect']}/api/flow_runs/filter", {}) == 200
            assert status_of(f"{found['prefect']}/api/flows/", {"name": "another"}) >= 400
            assert status_of(found["reports"]) == 200
        finally:
            shown.send_signal(signal.SIGTERM)
    assert shown.returncode == 143
    for address in (mlflow, found["prefect"], found["reports"]):
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address, timeout=5)
