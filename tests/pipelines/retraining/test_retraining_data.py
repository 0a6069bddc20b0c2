"""From an inspected part to a training image: campaign, review, clone, ingest."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.dataset import annotation_table
from models.errors import BadInput
from pipelines.adapters import git
from pipelines.ingest import ingest
from pipelines.ledger import campaigns, inspections, reviews, undecided
from pipelines.ledger.ledger import Ledger
from pipelines.retraining import clone
from pipelines.retraining.retrain import Reason, request
from pipelines.review import answers, campaign, reviewed
from pipelines.snapshots import snapshot
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture, write_parts
from tests.pipelines.conftest import copied, made_once
from tests.pipelines.ledger.test_ledger import inspection


def inspected(place: Workspace, ledger: Ledger, n: int) -> None:
    """`n` new bright parts in store and ledger, as if a detector had seen them."""
    from pipelines.image_files.image_store import open_store

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


def asked(ledger: Ledger) -> list[str]:
    return [item.inspection.part for item in campaigns.waiting(ledger, LINE)]


def answer(ledger: Ledger, place: Workspace) -> list[answers.CampaignProgress]:
    return [
        answers.record(ledger, LINE, part, "defect" if int(part[3:]) % 2 == 0 else "good", "quality lab")
        for part in asked(ledger)
    ]


def test_a_campaign_asks_for_its_budget_and_never_for_known_parts(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 50)
        known = annotation_table.load(snapped.annotations)["part"].to_pylist()[0]
        inspections.add(ledger, [inspection("known", known)])
        campaign.open_campaign(snapped, ledger, 20)
        parts = asked(ledger)
    assert len(set(parts)) == 20
    assert known not in parts


def test_nobody_is_asked_about_the_same_part_twice(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 30)
        campaign.open_campaign(snapped, ledger, 20)
        first = set(asked(ledger))
        answer(ledger, snapped)
        campaign.open_campaign(snapped, ledger, 20)
        second = set(asked(ledger))
    assert len(second) == 10
    assert not first & second


def test_a_second_run_of_a_request_finds_the_campaign_that_asks_about_everything(snapped: Workspace) -> None:
    rules = snapped.params().retrain
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 3)
        asking = request(ledger, LINE, rules, reason=Reason.PERSON, trigger="manual", event_id=None, flow_run_id=None)
        first = campaign.open_campaign(snapped, ledger, 10, asking.id)
        assert campaign.open_campaign(snapped, ledger, 10, asking.id).id == first.id


def test_the_label_that_ends_a_campaign_and_no_other_says_so(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 10)
        campaign.open_campaign(snapped, ledger, 10)
        assert [progress.ended for progress in answer(ledger, snapped)] == [False] * 9 + [True]


def test_the_latest_review_counts_and_none_is_overwritten(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 2)
        campaign.open_campaign(snapped, ledger, 2)
        for label in ("good", "defect"):
            answers.record(ledger, LINE, "new4000", label, "quality lab")
        latest = {review.part: review.label for review, _ in reviews.latest(ledger, LINE)}
        assert latest == {"new4000": "defect"}
        assert len(reviews.of_part(ledger, LINE, "new4000")) == 2


@pytest.mark.parametrize(("part", "label", "reviewer"), [("p", "bad", "x"), ("p", "good", " "), ("p", "good", "x")])
def test_a_review_that_says_nothing_is_refused(snapped: Workspace, part: str, label: str, reviewer: str) -> None:
    with Ledger.open(snapped.ledger_url) as ledger, pytest.raises(BadInput):
        answers.record(ledger, LINE, part, label, reviewer)


def learn(place: Workspace) -> Workspace:
    """What the retraining flow does before it trains."""
    copy = clone.take_clone(place)
    with Ledger.open(place.ledger_url) as ledger:
        for source in reviewed.read(copy, ledger):
            ingest.take_in(copy, source)
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


@pytest.fixture(scope="module")
def learned_root(tmp_path_factory: pytest.TempPathFactory, snapped_root: Path) -> Path:
    def make(root: Path) -> None:
        place = copied(snapped_root, root)
        ask_and_answer(place)
        learn(place)

    return made_once(tmp_path_factory, "learned", make)


@pytest.fixture
def learned(tmp_path: Path, learned_root: Path) -> Workspace:
    """A person's checkout whose automation learned what a campaign brought."""
    return copied(learned_root, tmp_path)


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
        campaign.open_campaign(snapped, ledger, 40)
        reasons = campaigns.reasons(ledger, LINE)
        answer(ledger, snapped)
    splits = parts(learn(snapped))
    sought = {splits[part] for part, reason in reasons.items() if campaign.SOUGHT in reason}
    blind = {splits[part] for part, reason in reasons.items() if campaign.SOUGHT not in reason}
    assert sought == {"train"}
    assert "validation" in blind


def test_learning_twice_changes_nothing(learned: Workspace) -> None:
    first = git.run(learned.root, "rev-parse", "defectloop/widgets")
    assert git.head(learn(learned).root) == first


def test_what_people_and_automation_added_meanwhile_is_joined(learned: Workspace, tmp_path: Path) -> None:
    before = parts(clone.take_clone(learned))
    ingest.ingest(learned, str(write_parts(tmp_path / "theirs", 6, first=700)), slice="matt")
    validate.validate(learned)
    snapshot.snapshot(learned)
    joined = parts(learn(learned))
    assert set(joined) == set(before) | set(parts(learned))
    assert (len(before), len(joined)) == (60 + 12, 60 + 12 + 6)
    assert {part: joined[part] for part in before} == before


def test_what_people_removed_meanwhile_stays_removed(learned: Workspace) -> None:
    rows = annotation_table.load(learned.annotations).to_pylist()
    annotation_table.save(annotation_table.from_rows(rows[1:]), learned.annotations)
    validate.validate(learned)
    snapshot.snapshot(learned)
    joined = parts(learn(learned))
    assert rows[0]["part"] not in joined
    assert len(joined) == 59 + 12


def test_a_join_that_was_killed_half_way_is_done_again(
    learned: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(parts(clone.take_clone(learned)))
    ingest.ingest(learned, str(write_parts(tmp_path / "theirs", 6, first=700)), slice="matt")
    validate.validate(learned)
    snapshot.snapshot(learned)
    with monkeypatch.context() as patched:
        patched.setattr(clone.git, "conclude_merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            learn(learned)
    assert set(parts(learn(learned))) == before | set(parts(learned))


def rows(place: Workspace) -> dict[str, dict]:
    """By part and image; the parts of these tests that have one image, by part."""
    return {row["part"]: row for row in annotation_table.load(place.annotations).to_pylist()}


def test_a_review_that_no_campaign_asked_for_is_learned_from_for_training_alone(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 2)
        answers.record(ledger, LINE, "new4001", "good", "Ada")
        assert reviews.unlearned(ledger, LINE) == 1
    learned = rows(learn(snapped))["new4001"]
    assert (learned["label"], learned["labelled_by"], learned["split"]) == ("good", "Ada", "train")


def test_a_part_that_was_judged_unasked_may_be_in_the_random_share_and_is_answered(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 4)
        answers.record(ledger, LINE, "new4001", "good", "Ada")
        opened = campaign.open_campaign(snapped, ledger, 4)
        assert campaigns.progress(ledger, opened.id).answered == 1
        assert asked(ledger) == ["new4000", "new4002", "new4003"]


def test_the_sought_out_share_holds_no_part_that_somebody_judged_already(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 60)
        candidates = campaign.candidates_of(snapped, ledger)
    judged = {item.part for item in candidates[:50]}
    chosen = campaign.choose(candidates, 20, judged=judged)
    assert not {item.part for item, reason in chosen if reason == campaign.SOUGHT} & judged
    assert {item.part for item, reason in chosen if reason == "random"} & judged


def test_a_correction_after_the_campaign_ended_reaches_the_data(learned: Workspace) -> None:
    assert rows(clone.take_clone(learned))["new4000"]["label"] == "defect"
    with Ledger.open(learned.ledger_url) as ledger:
        answers.record(ledger, LINE, "new4000", "good", "Ada")
    corrected = rows(learn(learned))
    assert (corrected["new4000"]["label"], corrected["new4000"]["labelled_by"]) == ("good", "Ada")
    assert corrected["new4002"]["label"] == "defect"


def test_a_correction_reaches_an_image_that_a_campaign_of_an_earlier_version_brought(learned: Workspace) -> None:
    copy = clone.take_clone(learned)
    table = annotation_table.load(copy.annotations).to_pylist()
    old = [row | ({"source": "review campaign 1"} if row["source"] == "reviews" else {}) for row in table]
    annotation_table.save(annotation_table.from_rows(old), copy.annotations)
    with Ledger.open(learned.ledger_url) as ledger:
        answers.record(ledger, LINE, "new4000", "good", "Ada")
        for source in reviewed.read(copy, ledger):
            ingest.take_in(copy, source)
    assert rows(copy)["new4000"]["label"] == "good"
    assert len(rows(copy)) == len(table)


def test_a_later_label_of_the_dataset_stays(learned: Workspace) -> None:
    copy = clone.take_clone(learned)
    table = annotation_table.load(copy.annotations).to_pylist()
    later = {"label": "good", "labelled_by": "Bo", "labelled_at": "2999-01-01T00:00:00+00:00"}
    changed = [row | (later if row["part"] == "new4000" else {}) for row in table]
    annotation_table.save(annotation_table.from_rows(changed), copy.annotations)
    with Ledger.open(learned.ledger_url) as ledger:
        assert reviewed.read(copy, ledger) == []


def photographed(place: Workspace, ledger: Ledger, part: str, *defective: bool) -> list[str]:
    """One part with several images in production; their SHA-256 in the order of inspection."""
    from pipelines.image_files.image_store import open_store

    store = open_store(place.store_url)
    images = [store.put(picture(9000 + n, defective=bad, bright=True)) for n, bad in enumerate(defective)]
    inspections.add(ledger, [inspection(f"{part}-{n}", part, image=image) for n, image in enumerate(images)])
    return images


def labels(place: Workspace, part: str) -> dict[str, str]:
    table = annotation_table.load(place.annotations).to_pylist()
    return {row["image"]: row["label"] for row in table if row["part"] == part}


def test_every_image_of_a_reviewed_part_is_delivered_with_its_own_label(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        first, second, third = photographed(snapped, ledger, "serial-1", False, True, False)
        opened = campaign.open_campaign(snapped, ledger, 10)
        assert opened.wanted == 1
        answers.record(ledger, LINE, "serial-1", "defect", "Ada", views=[second[:10]])
    copy = learn(snapped)
    assert labels(copy, "serial-1") == {first: "good", second: "defect", third: "good"}
    with Ledger.open(snapped.ledger_url) as ledger:
        answers.record(ledger, LINE, "serial-1", "defect", "Ada", views=["all"])
    assert set(labels(learn(snapped), "serial-1").values()) == {"defect"}


def test_a_good_part_has_good_images_alone(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        images = photographed(snapped, ledger, "serial-1", False, False)
        answers.record(ledger, LINE, "serial-1", "good", "Ada")
    assert labels(learn(snapped), "serial-1") == dict.fromkeys(images, "good")


def test_a_defective_part_with_several_images_needs_to_be_told_which_show_it(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        images = photographed(snapped, ledger, "serial-1", False, True)
        with pytest.raises(BadInput, match="2 images") as raised:
            answers.record(ledger, LINE, "serial-1", "defect", "Ada")
        assert all(image[:16] in raised.value.message for image in images)
        with pytest.raises(BadInput, match="'x' matches no images"):
            answers.record(ledger, LINE, "serial-1", "defect", "Ada", views=["x"])


def test_an_image_that_the_dataset_holds_under_another_part_is_not_asked_about(snapped: Workspace) -> None:
    held = annotation_table.load(snapped.annotations)["image"].to_pylist()[0]
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 2)
        inspections.add(ledger, [inspection("again", "another-name", image=held)])
        campaign.open_campaign(snapped, ledger, 10)
        assert "another-name" not in asked(ledger)


def left_to_people(ledger: Ledger, limit: int = 10) -> tuple[list[str], int]:
    found = undecided.parts(ledger, LINE, limit)
    return [item.part for item in found.parts], found.total


def test_parts_that_the_detector_left_to_people_are_listed_oldest_first_until_they_are_answered(
    snapped: Workspace,
) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspected(snapped, ledger, 4)
        assert left_to_people(ledger, 3) == (["new4000", "new4001", "new4002"], 4)
        answers.skip(ledger, LINE, "new4000", "Ada")
        assert left_to_people(ledger) == (["new4001", "new4002", "new4003", "new4000"], 4)
        answers.record(ledger, LINE, "new4001", "good", "Ada")
        answers.cant_say(ledger, LINE, "new4002", "Ada", "covered")
        assert left_to_people(ledger) == (["new4003", "new4000"], 2)
        inspections.add(ledger, [inspection("another photograph", "new4001", image="ef" * 32)])
        assert left_to_people(ledger)[1] == 3


def test_a_part_that_fails_in_one_image_or_is_asked_about_is_not_left_to_people(snapped: Workspace) -> None:
    with Ledger.open(snapped.ledger_url) as ledger:
        inspections.add(
            ledger,
            [
                inspection("1", "failed", image="aa" * 32),
                inspection("2", "failed", image="bb" * 32, verdict="fail"),
                inspection("3", "clear by now", image="cc" * 32),
                inspection("4", "clear by now", image="cc" * 32, verdict="pass"),
            ],
        )
        assert left_to_people(ledger) == ([], 0)
        inspected(snapped, ledger, 3)
        campaign.open_campaign(snapped, ledger, 10)
        assert left_to_people(ledger) == ([], 0)
