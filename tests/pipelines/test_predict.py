from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import BadInput, NotReady
from pipelines import predict
from pipelines.image_store import open_store
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.predict import Production, open_inspector, replay_folder
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture, write_parts

pytestmark = pytest.mark.slow


def item(data: bytes, part: str = "p1", request: str = "r1") -> Production:
    return Production(read=lambda: data, part=part, request_id=request)


def test_a_line_without_a_champion_says_what_to_do(empty_workspace: Workspace) -> None:
    with pytest.raises(NotReady, match="no champion") as caught, open_inspector(empty_workspace):
        pass
    assert caught.value.next_step == "Train one: defectloop train"


def test_an_inspection_is_in_the_ledger_with_its_image_when_the_answer_comes(own_champion: Workspace) -> None:
    data = picture(7000, defective=True)
    with open_inspector(own_champion) as inspector:
        answer = inspector.inspect(item(data), "test").record
    with Ledger.open(own_champion.ledger_url) as ledger:
        kept = inspections.of_part(ledger, LINE, "p1")[0]
    assert (kept.id, kept.verdict, kept.model_version) == (answer.id, answer.verdict, "1")
    assert open_store(own_champion.store_url).get(kept.image) == data
    assert {"brightness", "score", "projection_0"} <= set(kept.descriptors)


def test_no_answer_leaves_when_the_ledger_does_not_take_it(
    own_champion: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(predict.inspections, "add", full)
    with open_inspector(own_champion) as inspector, pytest.raises(OSError, match="no space"):
        inspector.inspect(item(picture(1, defective=False)), "test")


def test_an_unreadable_image_is_kept_with_its_reason(own_champion: Workspace) -> None:
    rubbish = picture(1, defective=False)[:300]
    with open_inspector(own_champion) as inspector, pytest.raises(BadInput, match="part-9"):
        inspector.inspect(item(rubbish, part="part-9"), "test")
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert inspections.known(ledger, LINE, ["r1"]) == {"r1"}


def test_a_replay_done_twice_adds_nothing(own_champion: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "night", 70, first=5000)
    (folder / "good" / "broken.png").write_bytes(b"not an image")
    first, second = replay_folder(own_champion, folder), replay_folder(own_champion, folder)
    assert (first.inspected, first.rejected, first.already_known) == (70, 1, 0)
    assert (second.inspected, second.rejected, second.already_known) == (0, 0, 71)


def test_two_inspections_of_one_request_at_once_are_one(own_champion: Workspace) -> None:
    data = picture(7100, defective=False)
    with open_inspector(own_champion) as inspector:
        pair = [item(data, part=f"p{n}", request=f"same-{n}") for n in range(3)]
        inspector.inspect_many(pair[:1], "one process")
        judged = inspector.inspect_many(pair, "another")
    assert [entry.record.part for entry in judged] == ["p1", "p2"]
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert sum(inspections.count(ledger, LINE).values()) == 3


def test_defects_score_higher_than_good_parts(own_champion: Workspace) -> None:
    with open_inspector(own_champion) as inspector:
        scores = {
            defective: [
                inspector.inspect(item(picture(n, defective=defective), request=f"{defective}{n}"), "t").record.score
                for n in range(8000, 8010)
            ]
            for defective in (True, False)
        }
    assert min(scores[True]) > max(scores[False])


def test_the_command_prints_one_json_line_per_image_and_writes_the_heatmap(
    own_champion: Workspace, tmp_path: Path, defectloop
) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(picture(9000, defective=True))
    bad.write_bytes(b"rubbish")
    done = defectloop("inspect", good, bad, "--workspace", own_champion.root, "--heatmaps", tmp_path / "heat")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 2
    assert first["verdict"] == "fail"
    assert first["regions"]
    assert Path(first["heatmap"]).read_bytes().startswith(b"\x89PNG")
    assert "b" in second["error"]
