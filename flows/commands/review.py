"""The `review` command: which parts need a person's judgement, and recording it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import JsonOption, WorkspaceOption, answer, open_workspace

if TYPE_CHECKING:
    from flows.reviewing import WaitingParts
    from pipelines.ledger.tables import Inspection
    from pipelines.workspace import Workspace


def review(
    workspace: WorkspaceOption = None,
    part: Annotated[
        str | None,
        typer.Option(help="The part to label, or the file name of its image; without it, list the parts that wait."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="good or defect.")] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            help="For a defective part with several images: an image that shows the defect, given by its view or the "
            "beginning of its SHA-256. Repeat it for several images, or give `all`."
        ),
    ] = None,
    cant_say: Annotated[
        bool,
        typer.Option("--cant-say", help="The part cannot be judged: it counts as answered, without a label."),
    ] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Decide later: the part moves to the end of the list.")] = False,
    close: Annotated[
        int | None, typer.Option(help="End this campaign before every part is answered; its answers are used.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of the waiting parts and a form for the labels.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Record the labels of a file: CSV (columns part, label, views, reviewer, comment; the page makes it) or "
            "the JSON export of a Label Studio project made with `export label-studio --waiting`. All of them or none.",
        ),
    ] = None,
    reviewer: Annotated[
        str | None,
        typer.Option("--reviewer", "--by", help="Who stands behind the answer, or behind those without a name."),
    ] = None,
    comment: Annotated[str | None, typer.Option(help="Reason or remark, kept with the answer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the parts that wait for a review, record a label or a file of labels, or end a campaign.

    Many labels at once: open the page in a browser, download labels.csv from it, and give it to --from. The same file may be
    given again: what is recorded already is not recorded twice.

    Example: defectloop review --page parts.html, then defectloop review --from labels.csv
    """
    place = open_workspace(workspace)
    from flows import reviewing
    from models.errors import BadInput
    from pipelines.amounts import counted

    if sum(given is not None for given in (part, close, page, from_file)) > 1:
        raise BadInput(
            "--part, --close, --page and --from cannot be combined.", next_step="Run one command for each of them."
        )
    if page is not None:
        from pipelines.inspection import review_page

        written = review_page.write(place, page)
        answer(written, f"{counted(written.parts, 'part')}: {page}", as_json=as_json)
        return
    if from_file is not None:
        recorded = reviewing.answer_many(place, from_file, reviewer)
        text = f"{counted(recorded.recorded, 'answer')} recorded"
        text += f", {recorded.known} recorded before" if recorded.known else ""
        text += "".join(f"\nCampaign {number} is complete." for number in recorded.ended)
        answer(recorded, text, as_json=as_json)
        return
    if part is None and close is None:
        waits = reviewing.waiting(place)
        answer(document(waits), listing(place, waits), as_json=as_json)
        return
    if reviewer is None:
        raise BadInput("An answer needs a reviewer.", next_step='Add --reviewer "…".')
    if close is not None:
        ended = reviewing.close(place, close, reviewer, comment or "")
        answer(
            ended,
            f"Campaign {close} is closed: {ended.labelled} of {ended.wanted} parts have a label.",
            as_json=as_json,
        )
        return
    assert part is not None
    if (label is not None) + cant_say + skip != 1:
        raise BadInput(
            f"A review of part {part} needs one answer: a label, --cant-say or --skip.",
            next_step=f'defectloop review --part {part} --label good --reviewer "…"',
        )
    if label is not None:
        progress = reviewing.answer(place, part, label, reviewer, views=view, comment=comment)
    elif cant_say:
        progress = reviewing.cant_say(place, part, reviewer, comment or "")
    else:
        progress = reviewing.skip(place, part, reviewer, comment)
    if progress.campaign_id is None:
        text = "Recorded. No campaign asks about this part; the next retraining uses its latest label."
    else:
        unlabelled = progress.answered - progress.labelled
        text = f"Campaign {progress.campaign_id}: {progress.answered} of {progress.wanted} parts are answered" + (
            f", {unlabelled} without a label." if unlabelled else "."
        )
    answer(progress, text, as_json=as_json)


def listing(place: Workspace, waits: WaitingParts) -> str:
    """Format for a terminal: each campaign with its progress and parts, then other parts with the verdict `review`."""
    from datetime import timedelta

    from pipelines.review.questions import why_review

    days = place.params().retrain.campaign_days
    lines: list[str] = []
    for item in waits.campaigns:
        number, progress = item.campaign.id, item.progress
        ends = item.campaign.opened_at + timedelta(days=days)
        lines.append(
            f"Campaign {number}: {progress.answered} of {progress.wanted} answered; ends on {ends:%Y-%m-%d %H:%M} UTC"
        )
        lines += [
            f"  {_part(asked.inspection)}  {asked.chosen_for}" for asked in waits.asked if asked.campaign_id == number
        ]
    total, parts = waits.undecided.total, waits.undecided.parts
    if total:
        more = f", the oldest {len(parts)} listed" if total > len(parts) else ""
        lines.append(f"Parts with the verdict review: {total}{more}")
        lines += [f"  {_part(item)}  {item.inspected_at:%Y-%m-%d %H:%M} UTC  {why_review(item)}" for item in parts]
    if waits.undecided.deleted:
        lines.append(
            f"{waits.undecided.deleted} more cannot be reviewed: their images were deleted under retention (service.yaml)."
        )
    if not waits.asked and not total:
        return "\n".join([*lines, "No parts wait for a review."])
    return "\n".join([*lines, "With pictures and a form: defectloop review --page parts.html"])


def document(waits: WaitingParts) -> dict[str, Any]:
    """Return what `review --json` prints: campaigns, the parts they ask about, and the parts with the verdict review."""
    from pipelines.review.questions import why_review

    return {
        "campaigns": waits.campaigns,
        "asked": [
            _in_short(one.inspection) | {"campaign_id": one.campaign_id, "chosen_for": one.chosen_for}
            for one in waits.asked
        ],
        "undecided": {
            "total": waits.undecided.total,
            "deleted": waits.undecided.deleted,
            "parts": [_in_short(item) | {"chosen_for": why_review(item)} for item in waits.undecided.parts],
        },
    }


def _in_short(item: Inspection) -> dict[str, Any]:
    shown = ("part", "view", "file_name", "slice", "image", "verdict", "score", "inspected_at", "model_version")
    return {"inspection": item.id} | {name: getattr(item, name) for name in shown}


def _part(item: Inspection) -> str:
    name = f"{item.part} ({item.file_name})" if item.file_name else item.part
    return f"{name}  {item.verdict} {item.score:.2f}"
