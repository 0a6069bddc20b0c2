"""Images go when their time is over; their records stay, and whoever asks for an image is told."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from models.dataset import annotation_table
from models.errors import BadInput, BadParams, Busy, NotReady
from pipelines import locks
from pipelines import workspace as workspaces
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import LocalStore, open_store
from pipelines.inspection import heatmaps, predict, trace
from pipelines.inspection.judging import Production
from pipelines.ledger import deletions, inspections, verification
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Campaign, CampaignPart, Rejection
from pipelines.retention import presence, retention
from pipelines.retention.retention import Retained
from pipelines.review import answers, campaign, questions
from pipelines.serving import app
from pipelines.serving.config import Serve
from pipelines.serving.service import Service
from pipelines.workspace import Workspace
from tests.conftest import picture
from tests.kept.unpacked import unpacked
from tests.pipelines.ledger.test_ledger import inspection

LINE = "widgets"
TODAY = datetime.now(UTC)
DISTURBED = Path(__file__).parents[2] / "behaviour"  # its sitecustomize kills a process at a function


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = unpacked(tmp_path)
    for path in made.state.glob("ledger.db*"):  # what it was inspected before grows old
        path.unlink()
    rules(made, pass_days=30)
    return made


def rules(place: Workspace, **values: object) -> None:
    (place.root / "service.yaml").write_text(yaml.safe_dump({"retention": values}))


def add(place: Workspace, part: str, verdict: str = "pass", days: float = 40, **changes: object) -> str:
    """Store the picture of a part that was inspected this many days ago; returns its SHA-256."""
    data = changes.pop("data", None) or picture(1, defective=False) + part.encode()
    image = open_store(place.store_url).put(data)  # type: ignore[arg-type]
    values: dict[str, object] = {"image": image, "verdict": verdict, "inspected_at": TODAY - timedelta(days=days)}
    with Ledger.open(place.ledger_url) as ledger:
        request_id = f"{part} {days} {changes.get('view')} {changes.get('line')}"
        inspections.add(ledger, [inspection(request_id, part, **(values | changes))])
    return image


def stored(place: Workspace, *images: str) -> list[bool]:
    return [open_store(place.store_url).exists(image) for image in images]


def images_of(done: Retained) -> int:
    return sum(amount.images for amount in done.deleted.values())


def problems(place: Workspace) -> tuple[str, ...]:
    with Ledger.open(place.ledger_url) as ledger:
        return verification.verify(ledger, LINE).problems + presence.check(place, ledger).missing


def test_images_go_by_the_verdict_on_their_part_and_the_records_stay(place: Workspace) -> None:
    old, young = add(place, "old"), add(place, "young", days=20)
    review, fail = add(place, "unclear", "review", 400), add(place, "bad", "fail", 400)
    size = len(open_store(place.store_url).get(old))
    done = retention.run(place)
    assert stored(place, old, young, review, fail) == [False, True, True, True]
    assert (done.deleted, done.bytes) == ({"pass: 30 days": retention.Amount(1, size)}, size)
    with Ledger.open(place.ledger_url) as ledger:
        [deletion] = deletions.of_images(ledger, [old, young, review, fail]).values()
        assert (deletion.image, deletion.rule, deletion.bytes) == (old, "pass: 30 days", size)
        assert "@" in deletion.decided_by
        assert [item.image for item in inspections.of_part(ledger, LINE, "old")] == [old]
        found = presence.check(place, ledger)
        assert (found.deleted, found.missing) == (1, ())
    assert problems(place) == ()
    assert images_of(retention.run(place)) == 0


def test_without_rules_nothing_goes(place: Workspace) -> None:
    (place.root / "service.yaml").unlink()
    image = add(place, "old", days=4000)
    assert images_of(retention.run(place)) == 0
    assert stored(place, image) == [True]


def test_a_dry_run_says_the_same_and_touches_nothing(place: Workspace) -> None:
    add(place, "old")
    add(place, "older", days=50)

    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in place.state.rglob("*") if path.is_file()}

    with Ledger.open(place.ledger_url) as ledger:
        ledger_before = verification.verify(ledger, LINE)
    before = {path: data for path, data in everything().items() if "ledger.db" not in path.name}
    told = retention.run(place, dry_run=True)
    assert {path: data for path, data in everything().items() if "ledger.db" not in path.name} == before
    with Ledger.open(place.ledger_url) as ledger:
        assert verification.verify(ledger, LINE) == ledger_before
    done = retention.run(place)
    assert (told.deleted, told.bytes, told.kept) == (done.deleted, done.bytes, done.kept)
    assert images_of(done) == 2


def test_a_part_counts_as_a_whole_from_its_latest_inspection(place: Workspace) -> None:
    rules(place, pass_days=30, fail_days=100)
    failed = [add(place, "mixed", "fail", 40, view="top"), add(place, "mixed", "pass", 40, view="left", data=b"left")]
    again = [
        add(place, "again", "pass", 60, view="top", data=b"1"),
        add(place, "again", "pass", 10, view="top", data=b"2"),
    ]
    retaken = [
        add(place, "good", "fail", 60, view="top", data=b"3"),
        add(place, "good", "pass", 40, view="top", data=b"4"),
    ]
    retention.run(place)
    assert stored(place, *failed, *again, *retaken) == [True, True, True, True, False, False]


def test_an_image_that_a_younger_or_differently_judged_part_shows_too_stays(place: Workspace) -> None:
    same = add(place, "old", data=b"same")
    add(place, "young", days=1, data=b"same")
    judged = add(place, "good", data=b"judged")
    add(place, "bad", "fail", data=b"judged")
    twice = add(place, "one", data=b"twice")
    add(place, "two", days=50, data=b"twice")
    elsewhere = add(place, "here", data=b"elsewhere")
    add(place, "there", line="another", data=b"elsewhere")
    done = retention.run(place)
    assert stored(place, same, judged, twice, elsewhere) == [True, True, False, True]
    assert done.kept == {retention.SHARED: 2, retention.OTHER_LINE: 1}


def test_what_dataset_campaigns_and_unlearned_labels_need_stays(place: Workspace) -> None:
    row = annotation_table.load(place.annotations).slice(0, 1).to_pylist()[0]
    learned = add(place, "learned", data=(place.data / row["file"]).read_bytes())
    asked, labelled, free = add(place, "asked"), add(place, "labelled"), add(place, "free")
    with Ledger.open(place.ledger_url) as ledger:
        with ledger.writing() as session:
            opened = Campaign(line=LINE, wanted=1, opened_at=TODAY)
            session.add(opened)
            session.flush()
            [item] = inspections.of_part(ledger, LINE, "asked")
            session.add(CampaignPart(campaign_id=opened.id, part="asked", inspection_id=item.id, chosen_for="random"))
        answers.record(ledger, LINE, "labelled", "good", "lab")
    done = retention.run(place)
    assert stored(place, learned, asked, labelled, free) == [True, True, True, False]
    assert done.kept == {retention.IN_DATASET: 1, retention.ASKED: 1, retention.TO_LEARN: 1}


def test_an_unreadable_image_has_a_rule_of_its_own_and_keeps_its_part_from_passing(place: Workspace) -> None:
    whole = add(place, "B-1", view="top")
    unread = open_store(place.store_url).put(b"no image")
    with Ledger.open(place.ledger_url) as ledger, ledger.writing() as session:
        session.add(
            Rejection(request_id="q", line=LINE, part="B-1", source="s", image=unread, reason="cut off",
                      rejected_at=TODAY - timedelta(days=40), view="left")
        )  # fmt: skip
    retention.run(place)
    assert stored(place, whole, unread) == [True, True]
    rules(place, pass_days=30, rejected_days=30)
    retention.run(place)
    assert stored(place, whole, unread) == [True, False]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_killed_run_is_finished_by_the_next(where: str, place: Workspace) -> None:
    images = [add(place, f"part {number}") for number in range(3)]
    killed = subprocess.run(
        [sys.executable, "-m", "flows.cli", "ledger", "retention", "-w", place.root],
        env=os.environ
        | {"KILL_AT": f"pipelines.image_files.image_store:LocalStore.remove:{where}", "PYTHONPATH": str(DISTURBED)},
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert stored(place, *images) == [where == "before"] * 3
    with Ledger.open(place.ledger_url) as ledger:
        assert set(deletions.pending(ledger, LINE)) == set(images)
    assert images_of(retention.run(place)) == 3
    assert stored(place, *images) == [False] * 3
    with Ledger.open(place.ledger_url) as ledger:
        assert deletions.pending(ledger, LINE) == []
        assert deletions.total(ledger, LINE).images == 3
    assert problems(place) == ()


def test_an_image_that_is_needed_again_after_a_kill_stays(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    image = add(place, "old", data=b"same")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.image_files.image_store.LocalStore.remove", killed)
        with pytest.raises(KeyboardInterrupt):
            retention.run(place)
    add(place, "new", days=0, data=b"same")
    assert images_of(retention.run(place)) == 0
    assert stored(place, image) == [True]
    with Ledger.open(place.ledger_url) as ledger:
        assert (deletions.pending(ledger, LINE), deletions.of_images(ledger, [image])) == ([], {})


def test_an_image_that_is_inspected_between_the_look_and_the_decision_stays(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, other = add(place, "old", data=b"same"), add(place, "other")
    decide = deletions.decide

    def late(*arguments: object) -> list[str]:
        add(place, "new", days=0, data=b"same")
        return decide(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(deletions, "decide", late)
    assert images_of(retention.run(place)) == 1
    assert stored(place, image, other) == [True, False]


def test_an_image_that_comes_while_it_is_being_deleted_is_there_when_it_is_answered(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(1, defective=False) + b"again"
    image = add(place, "old", data=data)

    def removed(*arguments: object) -> None:
        remove(*arguments)  # type: ignore[arg-type]
        with Ledger.open(
            place.ledger_url
        ) as ledger:  # the record is committed after the decision, the image was put before
            inspections.add(ledger, [inspection("new", "new", image=image, inspected_at=TODAY)])
            deletions.done(ledger, LINE, [image])
            deleted_images.keep(ledger, open_store(place.store_url).put, {image: data})

    remove = LocalStore.remove
    monkeypatch.setattr(LocalStore, "remove", removed)
    retention.run(place)
    assert stored(place, image) == [True]
    monkeypatch.setattr(LocalStore, "remove", remove)
    assert images_of(retention.run(place)) == 0
    assert problems(place) == ()


def test_a_deleted_image_that_is_inspected_again_is_stored_again(place: Workspace) -> None:
    data = picture(1, defective=False) + b"again"
    image = add(place, "old", data=data)
    retention.run(place)
    assert stored(place, image) == [False]
    with predict.open_inspector(place, threads=1) as inspector:
        inspector.inspect(Production(read=lambda: data, part="new"), "test")
    assert stored(place, image) == [True]
    assert problems(place) == ()


def test_two_runs_at_once_do_not_disturb_each_other(place: Workspace) -> None:
    image = add(place, "old")
    with ThreadPoolExecutor(1) as pool, locks.retention_lock(place, LINE):
        other = pool.submit(retention.run, place)
        assert isinstance(other.exception(60), Busy)
        assert stored(place, image) == [True]


def test_a_store_that_others_may_use_is_left_alone_until_it_is_said_to_be_its_own(
    tmp_path: Path, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFECTLOOP_STORE", str(tmp_path / "shared"))
    shared = workspaces.at(place.root)
    image = add(shared, "old")
    with pytest.raises(BadParams, match="other ledgers"):
        retention.run(shared)
    rules(shared, pass_days=30, own_store=True)
    assert images_of(retention.run(shared)) == 1
    assert stored(shared, image) == [False]


@pytest.mark.slow
def test_images_go_from_a_bucket_too(place: Workspace, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTLOOP_STORE", f"{bucket}/retention")
    remote = workspaces.at(place.root)
    rules(remote, pass_days=30, own_store=True)
    old, young = add(remote, "old"), add(remote, "young", days=1)
    size = len(open_store(remote.store_url).get(old))
    done = retention.run(remote)
    assert (images_of(done), done.bytes) == (1, size)
    assert stored(remote, old, young) == [False, True]
    assert problems(remote) == ()


def test_a_mistake_in_the_rules_names_the_key(place: Workspace) -> None:
    rules(place, passed_days=30)
    with pytest.raises(BadParams, match=r"retention\.passed_days is an unknown key"):
        retention.run(place)


def test_an_image_that_is_missing_without_a_deletion_is_named(place: Workspace) -> None:
    deleted, lost = add(place, "old"), add(place, "young", days=1)
    retention.run(place)
    open_store(place.store_url).remove([lost])
    [problem] = problems(place)
    assert "(part young) is missing" in problem
    assert deleted not in problem


def test_every_reader_says_that_the_image_was_deleted(place: Workspace) -> None:
    rules(place, review_days=30)
    image = add(place, "old", "review")
    says = f"deleted under retention on {TODAY:%Y-%m-%d} (review: 30 days)"
    with Ledger.open(place.ledger_url) as ledger:
        [item] = inspections.of_part(ledger, LINE, "old")
        folder = heatmaps.default_folder(place)
        shown = heatmaps.path_of(folder, item)
        folder.mkdir(exist_ok=True)
        shown.write_bytes(b"heatmap")
        assert [one.part for one in questions.waiting(ledger, LINE)] == ["old"]
    done = retention.run(place)
    assert (done.pictures, shown.exists()) == (1, False)
    with Ledger.open(place.ledger_url) as ledger:
        with pytest.raises(NotReady) as told:
            deleted_images.read(ledger, open_store(place.store_url).get, image)
        assert says in told.value.message
        assert questions.waiting(ledger, LINE) == []
        assert campaign.candidates_of(place, ledger) == []
        with pytest.raises(BadInput) as refused:
            answers.record(ledger, LINE, "old", "good", "lab")
        assert says in refused.value.message
        traced = trace.render(trace.trace(place, "old"))
        assert f"image      The image was {says}" in traced
        assert answers.cant_say(ledger, LINE, "old", "lab", "no image").answered
    with Service([place], Serve()) as service, TestClient(app.create(service)) as client:
        for path in ("image", "heatmap.png"):
            answer = client.get(f"/v1/lines/{LINE}/inspections/{item.id}/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone")
            assert says in answer.json()["error"]["message"]
        assert client.get(f"/v1/lines/{LINE}/inspections/{item.id}").status_code == 200
