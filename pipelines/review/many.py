"""Records many answers at once, from a table or from Label Studio: all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import BadInput
from models.vocabulary import Label
from pipelines.ledger import campaigns, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Review
from pipelines.review import answers

CANT_SAY = "cant-say"
ANSWERS = (*Label, CANT_SAY)
SHOWN = 20  # mistakes that are listed


@dataclass(frozen=True)
class Row:
    """One answer. `where` is its place in the file, for errors: `line 3`. `views` name the images that show the defect."""

    where: str
    part: str
    answer: str  # good, defect or cant-say
    reviewer: str
    views: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True)
class Recorded:
    """Result. `known` answers had been recorded before. `ended`: the campaigns that these answers ended."""

    recorded: int
    known: int
    ended: tuple[int, ...]


def record(ledger: Ledger, line: str, rows: Sequence[Row], source: str) -> Recorded:
    """Record the answers in one transaction. The same answer by the same person is recorded once: a file may be read again.

    Raises BadInput with every mistake and its place in `source`; nothing is recorded then. An answer that was recorded
    before and has been corrected since is a mistake: reading an old file again must not undo the correction.
    """
    latest = {review.part: review for review, _ in reviews.latest(ledger, line)}
    mistakes: list[str] = []
    checked: list[Review] = []
    first: dict[str, Row] = {}
    for row in rows:
        try:
            review = _checked(ledger, line, row)
        except BadInput as error:
            mistakes.append(f"{row.where}: {error.message} {error.next_step}".strip())
            continue
        since = latest.get(review.part)
        if since is not None and not _same(review, since) and _was_recorded(ledger, review):
            mistakes.append(
                f"{row.where}: part {review.part} has a newer answer by {since.reviewer}. "
                f"To answer it once more: defectloop review --part {review.part}"
            )
            continue
        other = first.setdefault(review.part, row)
        if other is not row:
            mistakes.append(f"{row.where}: part {review.part} has an answer already, {other.where}.")
        else:
            checked.append(review)
    if mistakes:
        listed = "\n  ".join(mistakes[:SHOWN]) + ("\n  …" if len(mistakes) > SHOWN else "")
        raise BadInput(
            f"{source}: {len(mistakes)} of {len(rows)} answers cannot be recorded, so none was:\n  {listed}",
            next_step="Correct the file and run the same command again.",
        )
    new = [review for review in checked if review.part not in latest or not _same(review, latest[review.part])]
    ended = campaigns.add_reviews(ledger, new)
    return Recorded(len(new), len(checked) - len(new), tuple(sorted(ended)))


def _checked(ledger: Ledger, line: str, row: Row) -> Review:
    if row.answer == CANT_SAY:
        return answers.unsure(ledger, line, row.part, row.reviewer, row.comment or "")
    if row.answer not in ANSWERS:
        raise BadInput(f"Unknown label {row.answer!r}.", next_step=f"Labels: {', '.join(ANSWERS)}.")
    return answers.labelled(
        ledger, line, row.part, row.answer, row.reviewer, views=row.views or None, comment=row.comment
    )


def _was_recorded(ledger: Ledger, review: Review) -> bool:
    return any(_same(review, other) for other in reviews.of_part(ledger, review.line, review.part))


def _same(review: Review, other: Review) -> bool:
    same = ("answer", "label", "images", "reviewer", "comment")
    return all(getattr(review, name) == getattr(other, name) for name in same)
