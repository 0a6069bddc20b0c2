"""The API: durable answers, idempotency keys, part verdicts, pictures, errors."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipelines.image_files.image_store import open_store
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.serving import app
from pipelines.serving.config import Serve
from pipelines.serving.service import Service
from pipelines.workspace import Workspace
from tests.pipelines.serving.conftest import LINE

Picture = Callable[[int], bytes]


def post(client: TestClient, data: bytes, key: str | None = None, **query: str):
    headers = {"Content-Type": "image/png"} | ({"Idempotency-Key": key} if key else {})
    return client.post(f"{LINE}/inspections", params=query, content=data, headers=headers)


def test_an_answered_inspection_is_in_the_ledger_and_its_image_in_the_store(
    client: TestClient, workspace: Workspace, picture: Picture
) -> None:
    answered = post(client, picture(1), part="B-1", view="top", slice="glass", captured_at="2026-11-30T08:00:00Z")
    assert answered.status_code == 201, answered.text
    document = answered.json()
    with Ledger.open(workspace.ledger_url) as ledger:
        record = inspections.by_number(ledger, "widgets", document["inspection"])
    assert record is not None
    assert (record.part, record.view, record.slice, record.verdict) == ("B-1", "top", "glass", document["verdict"])
    assert record.captured_at is not None
    assert record.captured_at.isoformat() == document["captured_at"] == "2026-11-30T08:00:00+00:00"
    assert open_store(workspace.store_url).get(record.image) == picture(1)


def test_a_repeated_key_gets_the_same_answer_and_adds_nothing(client: TestClient, picture: Picture) -> None:
    first = post(client, picture(1), key="a", part="B-1")
    again = post(client, picture(1), key="a", part="B-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"repeated": True}
    assert len(client.get(f"{LINE}/parts/B-1").json()["views"]) == 1


def test_a_key_that_was_used_for_another_image_is_a_conflict(client: TestClient, picture: Picture) -> None:
    first = post(client, picture(1), key="a", part="B-1").json()
    other = post(client, picture(2), key="a", part="B-1")
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "conflict"
    assert client.get(first["links"]["self"]).json()["image"] == first["image"]


def test_one_key_sent_by_eight_clients_at_once_is_inspected_once(client: TestClient, picture: Picture) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, picture(3), key="a"), range(8)))
    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    assert len({one.json()["inspection"] for one in answers}) == 1


def test_a_form_is_the_same_request_as_raw_bytes(client: TestClient, picture: Picture) -> None:
    raw = post(client, picture(1), part="B-1", view="top").json()
    form = client.post(
        f"{LINE}/inspections",
        files={"image": ("x.png", picture(1), "image/png")},
        data={"part": "B-1", "view": "top", "captured_at": "2026-11-30T08:00:00Z"},
    )
    assert form.status_code == 200
    assert form.json()["inspection"] == raw["inspection"]


def test_an_unreadable_image_is_rejected_and_its_part_cannot_pass_until_it_is_taken_again(
    client: TestClient, picture: Picture
) -> None:
    refused = post(client, b"no image", part="B-1", view="top")
    assert refused.status_code == 422
    assert "rejection 1" in refused.json()["error"]["message"]
    part = client.get(f"{LINE}/parts/B-1").json()
    assert (part["verdict"], part["unreadable"]) == ("review", 1)
    post(client, picture(1), part="B-1", view="top")
    assert client.get(f"{LINE}/parts/B-1").json()["unreadable"] == 0


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"captured_at": "yesterday"}, "captured_at"),
        ({"captured_at": "0001-01-01T00:00:00+14:00"}, "calendar"),
        ({"part": "a\nb"}, "part"),
        ({"view": "x" * 300}, "view"),
    ],
)
def test_an_invalid_field_is_named(client: TestClient, picture: Picture, query: dict[str, str], named: str) -> None:
    answered = post(client, picture(1), **query)
    assert answered.status_code == 400
    assert named in answered.json()["error"]["message"]


def test_a_request_without_an_image_stores_nothing(client: TestClient, workspace: Workspace) -> None:
    assert post(client, b"", part="B-1").status_code == 400
    assert client.get(f"{LINE}/parts/B-1").status_code == 404


def test_a_view_that_is_declared_twice_is_one(client: TestClient, picture: Picture) -> None:
    post(client, picture(1), part="B-1", view="top")
    declared = client.post(f"{LINE}/parts/B-1/complete", json={"views": ["top", "left", "left"]}).json()
    assert (declared["complete"], declared["missing"]) == (False, ["left"])


def test_what_does_not_exist_is_not_found(client: TestClient, picture: Picture) -> None:
    assert client.post("/v1/lines/other/inspections", content=picture(1)).status_code == 404
    for path in ("inspections/999", "inspections/999/image", "inspections/999/heatmap.png", "parts/nobody"):
        answered = client.get(f"{LINE}/{path}")
        assert (answered.status_code, answered.json()["error"]["code"]) == (404, "not_found"), path


def test_image_and_heatmap_are_served(client: TestClient, picture: Picture) -> None:
    links = post(client, picture(1)).json()["links"]
    image = client.get(links["image"])
    assert (image.content, image.headers["content-type"]) == (picture(1), "image/png")
    assert Image.open(io.BytesIO(client.get(links["heatmap"]).content)).size == (64, 64)


def test_a_search_goes_through_all_pages_newest_first(client: TestClient, picture: Picture) -> None:
    numbers = [post(client, picture(number), slice="glass").json()["inspection"] for number in range(5)]
    post(client, picture(9), slice="steel")
    query: dict[str, object] = {"slice": "glass", "limit": 2, "since": "2020-01-01"}
    pages = [client.get(f"{LINE}/inspections", params=query).json()]
    while pages[-1]["next"]:
        pages.append(client.get(f"{LINE}/inspections", params=query | {"cursor": pages[-1]["next"]}).json())
    assert [one["inspection"] for page in pages for one in page["inspections"]] == numbers[::-1]
    for wrong in ({"cursor": "x"}, {"verdict": "good"}, {"limit": 0}, {"since": "x"}):
        assert client.get(f"{LINE}/inspections", params=wrong).status_code == 400, wrong


def test_a_part_whose_name_has_slashes_is_reached_by_its_link(client: TestClient, picture: Picture) -> None:
    link = post(client, picture(1), part="good/part 1").json()["links"]["part"]
    assert client.get(link).json()["part"] == "good/part 1"
    assert client.post(f"{link}/complete").json()["complete"] is True


def test_a_ledger_that_cannot_be_written_acknowledges_nothing(
    client: TestClient, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(inspections, "add_once", full)
        refused = post(client, picture(1), key="a", part="B-1")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert post(client, picture(1), key="a", part="B-1").status_code == 201


def test_a_line_without_champion_says_so_and_others_serve(workspace: Workspace, picture: Picture) -> None:
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("line: widgets", "line: gadgets"))
    with Service([workspace], Serve()) as service, TestClient(app.create(service)) as client:
        answered = client.post("/v1/lines/gadgets/inspections", content=picture(1))
        assert answered.status_code == 503
        assert answered.json()["error"]["code"] == "not_ready"
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "gadgets" in ready.json()["lines"]["gadgets"]["registry"]


def test_more_requests_than_may_wait_are_told_to_come_again(workspace: Workspace, picture: Picture) -> None:
    with Service([workspace], Serve(queue=1)) as service, TestClient(app.create(service)) as client:
        with service.place("widgets"):
            refused = post(client, picture(1))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert post(client, picture(1)).status_code == 201


def test_metrics_count_verdicts_and_time_stages(client: TestClient, picture: Picture) -> None:
    verdict = post(client, picture(1)).json()["verdict"]
    text = client.get("/metrics").text
    assert f'defectloop_verdicts_total{{line="widgets",model_version="1",verdict="{verdict}"}} 1.0' in text
    assert 'defectloop_stage_seconds_count{line="widgets",stage="commit"} 1.0' in text
    assert 'defectloop_model_version{line="widgets",model_version="1"} 1.0' in text


def test_a_search_returns_pages_newest_first(client: TestClient, picture: Picture) -> None:
    numbers = [post(client, picture(n), part=f"B-{n}", slice="glass").json()["inspection"] for n in range(5)]
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answered = client.get(f"{LINE}/inspections", params={"slice": "glass", "limit": "2"} | cursor)
        assert answered.status_code == 200, answered.text
        found += [row["inspection"] for row in answered.json()["inspections"]]
        if answered.json()["next"] is None:
            break
        cursor = {"cursor": answered.json()["next"]}
    assert found == numbers[::-1]
    [one] = client.get(f"{LINE}/inspections", params={"part": "B-3"}).json()["inspections"]
    assert one == client.get(one["links"]["self"]).json()
    for wrong in ({"limit": "0"}, {"cursor": "none"}, {"verdict": "good"}, {"since": "soon"}):
        assert client.get(f"{LINE}/inspections", params=wrong).status_code == 400
