"""The service on a real socket: TLS, and connections of which nothing comes."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from models.errors import BadInput
from pipelines.serving import keys, listening, server
from pipelines.serving.access import Access
from pipelines.serving.config import Serve
from pipelines.serving.keys import KeyRing, Role
from pipelines.serving.refusals import Refusals
from tests.behaviour.processes import wait


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes in the body."""
    count, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        count, more = count + len(message.get("body", b"")), message.get("more_body", False)
    if scope["type"] == "http":
        body = str(count).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def served(app: Any, root: Path, **serve: Any) -> Iterator[int]:
    config = listening.server_config(
        app, Serve(port=0, **serve), root, lifespan="off", timeout_graceful_shutdown=2, loop="asyncio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert wait(lambda: server.started, 20)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plant's own authority and certificates of the service and a station, made by the commands of docs/service.md."""
    folder = tmp_path_factory.mktemp("tls")
    commands = Path(__file__).parents[3].joinpath("docs/service.md").read_text().split("<!-- tls -->")[1]
    commands = commands.split("```")[1].partition("\n")[2].replace("inspection.plant.example", "localhost")
    subprocess.run(["bash", "-euc", commands], cwd=folder, check=True, capture_output=True)
    return folder


def tls(**more: str) -> dict:
    return {"tls": {"certificate": "service.pem", "key": "service.key", **more}}


def test_verdicts_travel_encrypted_and_old_protocols_are_refused(certificates: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with served(counting, certificates, **tls()) as port:
        address = f"https://localhost:{port}/"
        assert httpx.post(address, content=b"12345", verify=trusting).text == "5"
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)  # not trusted
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://localhost:{port}/")
        old = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert httpx.get(address, verify=old).status_code == 200
    with served(counting, certificates, **tls(minimum_version="1.3")) as port, pytest.raises(httpx.ConnectError):
        httpx.get(f"https://localhost:{port}/", verify=old)


def test_with_a_client_ca_a_station_shows_its_certificate(certificates: Path) -> None:
    with served(counting, certificates, **tls(client_ca="ca.pem")) as port:
        address = f"https://localhost:{port}/"
        stranger = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        with pytest.raises(httpx.TransportError):
            httpx.get(address, verify=stranger)
        stranger.load_cert_chain(certificates / "press-4.pem", certificates / "press-4.key")
        assert httpx.get(address, verify=stranger).status_code == 200


def test_a_wrong_file_is_named(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"service\.pem"):
        listening.server_config(counting, Serve(**tls()), tmp_path)
    with pytest.raises(BadInput, match="cannot be used"):
        listening.server_config(counting, Serve(tls={"certificate": "ca.pem", "key": "service.key"}), certificates)
    workspace = SimpleNamespace(root=tmp_path)
    (tmp_path / "service.yaml").write_text("serve:\n  tls: {certificate: service.pem, key: service.key}\n")
    with pytest.raises(BadInput, match=r"service\.pem"):  # before an address is printed
        server.settings(workspace)  # type: ignore[arg-type]
    locked = ["openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", "service.key", "-out", "locked.key"]
    subprocess.run(locked, cwd=certificates, check=True, capture_output=True)
    with pytest.raises(BadInput, match="encrypted"):
        listening.server_config(counting, Serve(tls={"certificate": "service.pem", "key": "locked.key"}), certificates)


@pytest.fixture(autouse=True, params=[listening.PatientProtocol, listening.PatientH11], ids=["usual", "h11"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation for inspection has no httptools; uvicorn then uses h11."""
    monkeypatch.setattr(listening, "PatientProtocol", request.param)


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(listening, "HEADERS_S", 1.0)
    with served(counting, tmp_path) as opened:
        yield opened


def said(connection: socket.socket, limit_s: float = 10.0) -> bytes:
    """Return everything until the service closes the connection."""
    connection.settimeout(limit_s)
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionError:
        pass
    return answer


def test_a_head_that_does_not_end_in_time_closes_the_connection(port: int) -> None:
    """Also when a byte comes every now and then, and after a first request that was answered."""
    whole = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    for first in (b"", whole):
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(first)
            started = time.monotonic()
            try:
                for character in (whole[:-2] * 2).decode():
                    slow.sendall(character.encode())
                    time.sleep(0.1)
            except ConnectionError:
                pass
            assert time.monotonic() - started < 5
    with socket.create_connection(("127.0.0.1", port)) as silent:
        assert said(silent) == b""


def test_a_slow_head_keeps_nobody_else_waiting(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for one in slow:
        one.sendall(b"GET / HTTP/1.1\r\n")
    started = time.monotonic()
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    assert time.monotonic() - started < 5
    for one in slow:
        one.close()


def test_a_head_that_is_too_large_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as large:
        large.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
        try:
            for _ in range(200):
                large.sendall(b"a" * 8192)
        except ConnectionError:
            pass
        answer = said(large)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert httpx.get(f"http://127.0.0.1:{port}/", headers={"x": "a" * 8000}).status_code == 200


def test_pipelined_requests_are_answered_in_their_order(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as pipelined:
        last = b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        pipelined.sendall(b"".join(head % n + b"x" * n for n in (1, 22, 70_000)) + last)
        answer = said(pipelined)
    bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200")[1:]]
    assert bodies == [b"1", b"22", b"70000", b"0"]


def test_a_large_upload_without_a_key_gets_its_401_and_one_with_a_key_its_413(tmp_path: Path) -> None:
    _, text = keys.create(tmp_path, "press 4", Role.STATION)
    serve = {"limits": {"body_mb": 1}}
    access = Access(counting, KeyRing(tmp_path), Serve(**serve), Refusals())
    with served(access, tmp_path, **serve) as opened, httpx.Client(base_url=f"http://127.0.0.1:{opened}") as client:
        path, large = "/v1/lines/widgets/inspections", bytes(3 << 20)
        assert client.post(path, content=large).status_code == 401
        bearer = {"Authorization": f"Bearer {text}"}
        assert client.post(path, content=large, headers=bearer).status_code == 413
        assert client.post(path, content=iter([large[: 1 << 19]] * 6), headers=bearer).status_code == 413
        assert client.post(path, content=large[:100], headers=bearer).text == "100"
