"""Who is let through to the application, and how those who are not are told, counted and logged."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from models.errors import BadParams
from pipelines import service_file
from pipelines.serving import keys, received
from pipelines.serving.access import Access, required
from pipelines.serving.config import Serve
from pipelines.serving.keys import KeyRing, Permission, Role
from pipelines.serving.rate_limits import TokenBuckets
from pipelines.serving.refusals import Refusals

INSPECTIONS = "/v1/lines/widgets/inspections"


class App:
    """Reads the whole body, as an upload does, and answers in JSON."""

    def __init__(self, headers: tuple = ((b"content-type", b"application/json"),)) -> None:
        self.headers = headers
        self.seen: list[dict] = []
        self.read = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("as Starlette's ClientDisconnect")
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"{}"})


class Door:
    """A service of two lines behind `Access`, asked without a network."""

    def __init__(self, folder: Path, app: App | None = None, **serve: Any) -> None:
        self.folder, self.app, self.refusals = folder, app or App(), Refusals()
        self.texts = {
            role.value: keys.create(folder, role.value, role, None if role is Role.ADMIN else ["widgets"])[1]
            for role in Role
        }
        self.access = Access(self.app, KeyRing(folder), Serve(**serve), self.refusals)

    def ask(
        self,
        method: str = "GET",
        path: str = INSPECTIONS,
        role: str | None = None,
        *,
        headers: tuple = (),
        body: tuple[bytes, ...] = (b"",),
        wait_s: float = 0.0,
        host: bytes = b"127.0.0.1:8484",
        **scope: Any,
    ) -> tuple[int, dict[str, str], dict]:
        """Return status, headers and JSON of the answer."""
        said = [(b"host", host), *headers]
        if role:
            said.append((b"authorization", f"Bearer {self.texts[role]}".encode()))
        asked = {
            "type": "http",
            "scheme": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": said,
            "client": ("10.0.0.9", 4711),
        } | scope
        parts, sent = list(body), []

        async def receive() -> dict:
            await asyncio.sleep(wait_s)
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: dict) -> None:
            sent.append(message)

        asyncio.run(self.access(asked, receive, send))
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, json.loads(sent[1]["body"])


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_without_a_valid_key_nothing_reaches_the_application(door: Door) -> None:
    wrong = door.texts["station"][:-1] + ("a" if door.texts["station"][-1] != "a" else "b")
    bearer = b"Bearer " + door.texts["station"].encode()
    for headers in (
        (),
        ((b"authorization", b"Bearer " + wrong.encode()),),
        ((b"authorization", b"Bearer"),),
        ((b"authorization", b"Bearer \xff\x00"),),
        ((b"authorization", b"Basic " + door.texts["station"].encode()),),
        ((b"authorization", bearer), (b"authorization", bearer)),
    ):
        status, told, said = door.ask(headers=headers)
        assert (status, said["error"]["code"]) == (401, "no_key")
        assert told["www-authenticate"].startswith("Bearer")
        assert said["error"]["message"]
        assert said["error"]["next_step"]
    assert door.app.seen == []
    assert door.refusals.count == {(401, "no_key"): 6}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_probes_metrics_and_the_description_need_no_key_for_looking(door: Door, path: str) -> None:
    assert door.ask(path=path)[0] == 200
    assert door.ask("POST", path)[0] == 401


@pytest.mark.parametrize("path", ["/", "/v1/keys", "/v1/lines", "//healthz", "/healthz/", "/metrics/../v1/lines"])
def test_everything_else_needs_one(door: Door, path: str) -> None:
    assert door.ask(path=path)[0] == 401


ASKED = {
    "inspect": ("POST", INSPECTIONS),
    "complete": ("POST", "/v1/lines/widgets/parts/A/7/complete"),
    "read": ("GET", "/v1/lines/widgets/parts/A"),
    "review": ("POST", "/v1/lines/widgets/inspections/17/review"),
    "operate": ("DELETE", "/v1/lines/widgets/anything/that/comes/later"),
    "keys": ("GET", "/v1/keys"),
    "other": ("POST", "/v1/anything"),
}
MAY = {
    "station": {"inspect", "complete", "read"},
    "reviewer": {"read", "review"},
    "engineer": {"inspect", "complete", "read", "review", "operate"},
    "admin": set(ASKED),
}


@pytest.mark.parametrize("role", MAY)
def test_each_role_may_do_what_the_table_says_and_no_more(door: Door, role: str) -> None:
    answers = {what: door.ask(*asked, role)[0] for what, asked in ASKED.items()}
    assert answers == {what: 200 if what in MAY[role] else 403 for what in ASKED}


def test_a_key_is_for_its_lines(door: Door) -> None:
    status, _, said = door.ask(path="/v1/lines/gadgets/inspections", role="station")
    assert (status, said["error"]["code"]) == (403, "line")
    assert door.ask(path="/v1/lines/gadgets/inspections", role="admin")[0] == 200
    assert door.app.seen[-1]["state"]["key"].name == "admin"


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v1/lines/a/inspections/../../b/inspections", (Permission.OPERATE, "a")),
        ("POST", "/v1/lines//inspections", (Permission.ADMINISTER, None)),
        ("POST", "/v1/lines/a/inspections\n", (Permission.OPERATE, "a")),
        ("GET", "/v1/lines/../keys", (Permission.READ, "..")),
        ("GET", "/v1/lines", (Permission.READ, None)),
        ("POST", "/V1/lines/a/inspections", (Permission.ADMINISTER, None)),
        ("POST", "/v1/lines/é ü/inspections", (Permission.INSPECT, "é ü")),
        ("GET", "/v1/keys/1", (Permission.ADMINISTER, None)),
    ],
)
def test_paths_that_look_like_others_need_no_less(method: str, path: str, needed: tuple) -> None:
    assert required(method, path) == needed


def test_too_many_requests_of_one_key_are_told_when_to_come_back(tmp_path: Path) -> None:
    door = Door(tmp_path, limits={"requests_per_second": 0.5, "burst": 3})
    assert [door.ask(role="station")[0] for _ in range(4)] == [200, 200, 200, 429]
    status, told, said = door.ask(role="station")
    assert (status, told["retry-after"], said["error"]["code"]) == (429, "2", "too_many_requests")
    assert door.ask(role="engineer")[0] == 200  # another key has its own


def test_many_failures_from_an_address_do_not_keep_out_its_valid_keys(tmp_path: Path) -> None:
    door = Door(tmp_path, limits={"failed_per_minute": 3})
    assert [door.ask()[0] for _ in range(5)] == [401, 401, 401, 429, 429]
    assert door.ask(role="station")[0] == 200
    assert door.ask(client=("10.0.0.10", 1))[0] == 401


def test_a_bucket_fills_at_its_rate_and_the_number_of_buckets_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    buckets = TokenBuckets(2, 2, clock=lambda: clock[0])
    assert [buckets.wait_s("a") for _ in range(3)] == [0, 0, 0.5]
    clock[0] = 0.5
    assert [buckets.wait_s("a"), buckets.wait_s("a")] == [0, 0.5]
    monkeypatch.setattr("pipelines.serving.rate_limits.MOST", 100)
    for number in range(1000):
        buckets.wait_s(number)
    assert len(buckets._buckets) == 100


def test_a_body_is_refused_when_it_gets_too_large_with_or_without_a_stated_length(tmp_path: Path) -> None:
    door = Door(tmp_path, limits={"body_mb": 1})
    half = bytes(1 << 19)
    assert door.ask("POST", role="station", body=(half, half))[0] == 200
    for headers, body in [
        (((b"content-length", b"1048577"),), (b"",)),
        (((b"transfer-encoding", b"chunked"),), (half, half, b"x", *[half] * 50)),
        (((b"content-length", b"5"),), (half, half, half)),
    ]:
        door.app.read = 0
        status, _, said = door.ask("POST", role="station", headers=headers, body=body)
        assert (status, said["error"]["code"]) == (413, "too_large")
        assert "body_mb" in said["error"]["next_step"]
        assert door.app.read <= 1 << 20
    assert door.refusals.count == {(413, "too_large"): 3}


def test_a_body_that_arrives_too_slowly_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "GRACE_S", 0.2)
    door = Door(tmp_path)
    status, told, said = door.ask("POST", role="station", body=(b"x",) * 100, wait_s=0.05)
    assert (status, said["error"]["code"], told["connection"]) == (408, "too_slow", "close")


def test_an_error_of_the_application_is_not_hidden(tmp_path: Path) -> None:
    class Broken(App):
        async def __call__(self, *_: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Door(tmp_path, Broken()).ask(role="station")


def test_every_answer_has_headers_for_browsers(door: Door) -> None:
    for _, told, _ in (door.ask(), door.ask(role="station"), door.ask(path="/healthz")):
        assert told["x-content-type-options"] == "nosniff"
        assert told["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert told["cache-control"] == "no-store"
        assert "strict-transport-security" not in told
        assert not [name for name in told if name.startswith("access-control")]
    assert "strict-transport-security" in door.ask(scheme="https")[1]


def test_what_the_application_says_itself_stays(tmp_path: Path) -> None:
    own = ((b"content-type", b"image/png"), (b"Content-Security-Policy", b"default-src 'self'"))
    _, told, _ = Door(tmp_path, App(own)).ask(role="station")
    assert told["Content-Security-Policy"] == "default-src 'self'"
    assert "content-security-policy" not in told
    assert "cache-control" not in told


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:8484", 200),
        (b"192.168.3.4", 200),
        (b"[::1]:8484", 200),
        (b"localhost", 200),
        (b"LOCALHOST.:8484", 200),
        (b"inspection.plant.example", 200),
        (b"evil.example:8484", 400),
        (b"", 400),
        (b"[evil", 400),
    ],
)
def test_a_web_page_cannot_make_its_own_name_point_here(tmp_path: Path, host: bytes, status: int) -> None:
    door = Door(tmp_path, names=("inspection.plant.example",))
    assert door.ask(role="station", host=host)[0] == status


def test_a_refusal_is_one_line_without_any_secret(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    text = door.texts["station"]
    with caplog.at_level(logging.WARNING):
        door.ask(
            "POST",
            path="/v1/lines/a\nFAKE 200 line",
            raw_path=b"/v1/lines/a%0AFAKE\n\x1b[31m\xff" + text.encode(),
            query_string=b"key=" + text.encode(),
        )
        _, _, said = door.ask(query_string=b"api_key=" + text.encode())
        door.ask("DELETE", role="station")
    assert "Revoke it" in said["error"]["next_step"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert not [line for line in lines if "\n" in line or "\x1b" in line or text in line or text[13:] in line]
    assert "from 10.0.0.9, no valid key" in lines[0]
    assert lines[2].startswith(f"Refused 403 role: DELETE {INSPECTIONS} from 10.0.0.9, key ")
    assert lines[2].endswith("(station).")


def test_a_flood_is_counted_and_does_not_fill_the_log(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        door.refusals.add({"path": "/x"}, 401, "no_key")
    assert len(caplog.records) < 300
    [family] = door.refusals.collect()
    [sample] = family.samples
    assert (sample.name, sample.value) == ("defectloop_refused_requests_total", 1000)
    assert sample.labels == {"status": "401", "code": "no_key"}


def test_websockets_are_closed(door: Door) -> None:
    sent = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(door.access({"type": "websocket", "path": "/"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_plain_http_that_others_could_read_is_refused(tmp_path: Path) -> None:
    def serve(text: str) -> Serve:
        (tmp_path / "service.yaml").write_text(f"serve: {text}")
        return service_file.section(tmp_path, "serve", Serve)

    for host in ("127.0.0.1", "::1", "localhost"):
        assert serve(f"{{host: '{host}'}}").tls is None
    for host in ("0.0.0.0", "::", "10.0.0.1", "plant.example"):
        with pytest.raises(BadParams, match=r"serve\.tls, or serve\.insecure: true"):
            serve(f"{{host: '{host}'}}")
    assert serve("{host: 0.0.0.0, insecure: true}").insecure
    assert serve("{host: 0.0.0.0, tls: {certificate: a.pem, key: b.pem}}").tls


def test_the_door_costs_a_request_less_than_a_fifth_of_a_millisecond(door: Door) -> None:
    """In CPU time, of which a busy machine does not take more."""

    async def ask(times: int) -> None:
        scope = {
            "type": "http",
            "scheme": "http",
            "method": "POST",
            "path": INSPECTIONS,
            "query_string": b"part=1",
            "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {door.texts['station']}".encode())],
            "client": ("10.0.0.9", 1),
        }

        async def receive() -> dict:
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def send(_: dict) -> None:
            pass

        for _ in range(times):
            await door.access(dict(scope), receive, send)

    before = time.process_time()
    asyncio.run(ask(300))
    spent_ms = (time.process_time() - before) * 1000 / 300
    assert spent_ms < 0.2
