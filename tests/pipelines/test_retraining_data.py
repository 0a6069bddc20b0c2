"""From an inspected part to a training image: campaign, review, clone, ingest."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import annotation_table
from models.errors import BadInput
from pipelines import clone, snapshot, validate
from pipelines.adapters import git
from pipelines.ingest import ingest, reviewed
from pipelines.ledger import inspections, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.review import campaign
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture, write_parts
from tests.pipelines.test_ledger import inspection


@pytest.fixture
def snapped(workspace: Workspace) -> Workspace:
    validate.validate(workspace)
    snapshot.snapshot(workspace)
    return workspace


def inspected(place: Workspace, ledger: Ledger, n: int) -> None:
    """`n` new bright parts in store and ledger, as if a detector had seen them."""
    from pipelines.image_store import open_store

    store = open_store(place.store_url)
    inspections.add(
        ledger,
        [
            inspection(
                f"r{number}",
                f"new{number}",
                slice="gloss",
                image=store.put(picture(number, defective=number % 2 == 0, bright=True)),
                score=(number % 10) / 10,
                descriptors={"projection_0": float(number % 7), "projection_1": float(number % 3)},
            )
            for number in range(4000, 4000 + n)
        ],
    )


def answer(ledger: Ledger, place: Workspace) -> list[campaign.CampaignProgress]:
    return [
        campaign.record(ledger, LINE, item.part, "defect" if int(item.part[3:]) % 2 == 0 else "good", "quality lab")
        for item in reviews.waiting(ledger, LINE)
    ]


def test_a_campaign_asks_for_its_budget_and_never_for_known_parts(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 50)
        known = annotation_table.load(snapped.annotations)["part"].to_pylist()[0]
        inspections.add(ledger, [inspection("known", known)])
        campaign.open_campaign(snapped, ledger, 20)
        asked = [item.part for item in reviews.waiting(ledger, LINE)]
    assert len(set(asked)) == 20
    assert known not in asked


def test_nobody_is_asked_about_the_same_part_twice(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 30)
        campaign.open_campaign(snapped, ledger, 20)
        first = {item.part for item in reviews.waiting(ledger, LINE)}
        answer(ledger, snapped)
        campaign.open_campaign(snapped, ledger, 20)
        second = {item.part for item in reviews.waiting(ledger, LINE)}
    assert len(second) == 10
    assert not first & second


def test_the_label_that_completes_a_campaign_and_no_other_names_the_event(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 10)
        campaign.open_campaign(snapped, ledger, 10)
        events = [progress.completed_event_id for progress in answer(ledger, snapped)]
    assert events[:-1] == [None] * 9
    assert events[-1] is not None


def test_the_latest_review_counts_and_none_is_overwritten(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 2)
        asked = campaign.open_campaign(snapped, ledger, 2)
        for label in ("good", "defect"):
            campaign.record(ledger, LINE, "new4000", label, "quality lab")
        latest = {review.part: review.label for review, _ in reviews.of_campaign(ledger, asked.id)}
        assert latest == {"new4000": "defect"}
        assert len(reviews.of_part(ledger, LINE, "new4000")) == 2


@pytest.mark.parametrize(("part", "label", "reviewer"), [("p", "bad", "x"), ("p", "good", " "), ("p", "good", "x")])
def test_a_review_that_says_nothing_is_refused(snapped: Workspace, part: str, label: str, reviewer: str) -> None:
    with Ledger.open(snapped.ledger_url) as ledger, pytest.raises(BadInput):
        campaign.record(ledger, LINE, part, label, reviewer)


def learn(place: Workspace) -> Workspace:
    """What the retraining flow does before it trains."""
    copy = clone.take_clone(place)
    with Ledger.open(place.ledger_url) as ledger:
        for completed in reviews.completed(ledger, LINE):
            ingest.take_in(copy, reviewed.read(copy, ledger, completed.id))
    validate.validate(copy)
    snapshot.snapshot(copy)
    clone.publish(place, copy)
    return copy


def parts(place: Workspace) -> dict[str, str]:
    table = annotation_table.load(place.annotations)
    return dict(zip(table["part"].to_pylist(), table["split"].to_pylist(), strict=True))


def ask_and_answer(place: Workspace) -> None:
    with Ledger.open(place.ledger_url) as ledger:
        inspected(place, ledger, 12)
        campaign.open_campaign(place, ledger, 12)
        answer(ledger, place)


def test_labels_reach_a_published_snapshot_and_the_person_s_checkout_is_untouched(snapped: Workspace) -> None:
    ask_and_answer(snapped)
    before = (git.head(snapped.root), snapped.annotations.read_bytes())
    copy = learn(snapped)
    assert (git.head(snapped.root), snapped.annotations.read_bytes()) == before
    assert git.run(snapped.root, "status", "--porcelain", "--untracked-files=no") == ""
    assert git.run(snapped.root, "rev-parse", "defectloop/widgets") == git.head(copy.root)
    assert [taken.number for taken in snapshot.snapshots(snapped)] == [1, 2]
    rows = [row for row in annotation_table.load(copy.annotations).to_pylist() if row["slice"] == "gloss"]
    assert {row["labelled_by"] for row in rows} == {"quality lab"}
    assert len(rows) == 12


def test_parts_that_were_sought_out_are_for_training_alone(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 60)
        asked = campaign.open_campaign(snapped, ledger, 40)
        reasons = reviews.chosen_for(ledger, asked.id)
        answer(ledger, snapped)
    splits = parts(learn(snapped))
    sought = {splits[part] for part, reason in reasons.items() if reason == campaign.SOUGHT}
    blind = {splits[part] for part, reason in reasons.items() if reason != campaign.SOUGHT}
    assert sought == {"train"}
    assert "validation" in blind


def test_learning_twice_changes_nothing(snapped: Workspace) -> None:
    ask_and_answer(snapped)
    first = git.head(learn(snapped).root)
    assert git.head(learn(snapped).root) == first


def test_what_people_and_automation_added_meanwhile_is_joined(snapped: Workspace, tmp_path: Path) -> None:
    ask_and_answer(snapped)
    learned = parts(learn(snapped))
    ingest.ingest(snapped, str(write_parts(tmp_path / "theirs", 6, first=700)), slice="matt")
    validate.validate(snapped)
    snapshot.snapshot(snapped)
    joined = parts(learn(snapped))
    assert set(joined) == set(learned) | set(parts(snapped))
    assert {part: joined[part] for part in learned} == learned


def test_what_people_removed_meanwhile_stays_removed(snapped: Workspace) -> None:
    ask_and_answer(snapped)
    learn(snapped)
    rows = annotation_table.load(snapped.annotations).to_pylist()
    annotation_table.save(annotation_table.from_rows(rows[1:]), snapped.annotations)
    validate.validate(snapped)
    snapshot.snapshot(snapped)
    joined = parts(learn(snapped))
    assert rows[0]["part"] not in joined
    assert len(joined) == 59 + 12


def test_a_join_that_was_killed_half_way_is_done_again(
    snapped: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_and_answer(snapped)
    learned = set(parts(learn(snapped)))
    ingest.ingest(snapped, str(write_parts(tmp_path / "theirs", 6, first=700)), slice="matt")
    validate.validate(snapped)
    snapshot.snapshot(snapped)
    with monkeypatch.context() as patched:
        patched.setattr(clone.git, "conclude_merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            learn(snapped)
    assert set(parts(learn(snapped))) == learned | set(parts(snapped))
