"""`defectloop review` as a person uses it."""

from __future__ import annotations

import json

import pytest

from pipelines.ledger import campaigns, inspections
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace
from tests.conftest import LINE
from tests.pipelines.ledger.test_ledger import inspection


@pytest.fixture
def asked(empty_workspace: Workspace) -> Workspace:
    """A campaign about a part with two views and one that has one image; the detector left a third to a person."""
    views = [("p1", "top", "aa"), ("p1", "side", "bb"), ("p2", None, "cc"), ("p3", None, "dd")]
    with Ledger.open(empty_workspace.ledger_url) as ledger:
        inspections.add(
            ledger,
            [inspection(f"r{n}", part, view=view, image=image * 32) for n, (part, view, image) in enumerate(views)],
        )
        chosen = [inspections.of_part(ledger, LINE, part)[0] for part in ("p1", "p2")]
        campaigns.add(ledger, LINE, [(item, "random") for item in chosen])
    return empty_workspace


def test_what_waits_is_answered_part_by_part_until_nothing_waits(asked: Workspace, defectloop) -> None:
    def review(*arguments: str) -> str:
        done = defectloop("review", "--workspace", asked.root, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = review()
    assert "Campaign 1: 0 of 2 answered; ends on" in listed
    assert "p1  review 0.25  random" in listed
    assert "Parts with the verdict review: 1" in listed
    assert "p3  review 0.25  2026-01-02 03:04 UTC  the score is between the two thresholds" in listed
    in_json = json.loads(review("--json"))
    assert [(one["part"], one["chosen_for"]) for one in in_json["asked"]] == [("p1", "random"), ("p2", "random")]
    assert "descriptors" not in in_json["undecided"]["parts"][0]
    which = defectloop(
        "review", "--workspace", asked.root, "--part", "p1", "--label", "defect", "--reviewer", "Ada", "--json"
    )
    assert which.returncode == 2
    assert "2 images: top, side" in json.loads(which.stdout)["message"]
    assert "1 of 2 parts are answered." in review(
        "--part", "p1", "--label", "defect", "--view", "side", "--reviewer", "Ada"
    )
    ended = review("--part", "p2", "--cant-say", "--reviewer", "Ada", "--comment", "wet")
    assert "2 of 2 parts are answered, 1 without a label." in ended
    assert "No campaign asks" in review("--part", "p3", "--label", "good", "--reviewer", "Ada")
    assert review() == "No parts wait for a review.\n"


def test_a_campaign_is_closed_with_who_and_why_and_status_shows_what_is_open(asked: Workspace, defectloop) -> None:
    place = ("--workspace", asked.root)
    assert "campaign 1: 0 of 2 answered" in defectloop("status", *place).stdout
    unexplained = defectloop("review", *place, "--close", "1", "--reviewer", "Ada")
    assert (unexplained.returncode, "Closing campaign 1 needs a comment" in unexplained.stderr) == (2, True)
    closed = defectloop("review", *place, "--close", "1", "--reviewer", "Ada", "--comment", "sold")
    assert "0 of 2 parts have a label" in closed.stdout
    assert "campaign 1" not in defectloop("status", *place).stdout
