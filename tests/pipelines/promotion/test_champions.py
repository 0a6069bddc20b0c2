from __future__ import annotations

import pytest

from pipelines.ledger.tables import Promotion, now
from pipelines.promotion.champions import earlier


def decision(kind: str, version: str, before: str | None, state: str = "done") -> Promotion:
    return Promotion(
        line="widgets",
        kind=kind,
        version=version,
        champion_before=before,
        reasons=[],
        numbers={},
        state=state,
        decided_at=now(),
    )


THREE = (decision("promote", "1", None), decision("promote", "2", "1"), decision("promote", "3", "2"))


@pytest.mark.parametrize(
    ("later", "champion", "behind"),
    [
        ((), "3", ["2", "1"]),
        ((decision("rollback", "2", "3"),), "2", ["1"]),
        ((decision("rollback", "1", "3"),), "1", []),
        ((decision("rollback", "2", "3"), decision("promote", "3", "2")), "3", ["2", "1"]),
        ((decision("rollback", "2", "3"), decision("promote", "4", "2")), "4", ["2", "1"]),
        ((decision("refuse", "4", "3"), decision("promote", "5", "3", "overtaken")), "3", ["2", "1"]),
        ((decision("rollback", "7", "3"),), "7", ["2", "1"]),  # back to one that nobody ever promoted
        ((decision("promote", "8", "7"),), "8", ["7", "3", "2", "1"]),  # somebody set the alias to 7 by hand
        ((), "9", ["3", "2", "1"]),  # and now to 9
        ((decision("promote", "1", "3"),), "1", ["3", "2"]),  # under other rules it won again
    ],
)
def test_who_stands_behind_the_champion(later: tuple[Promotion, ...], champion: str, behind: list[str]) -> None:
    assert earlier((*THREE, *later), champion) == behind
