"""Reads files with answers: a CSV table, as the review page makes it, or a JSON export of Label Studio."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import BadInput
from models.files import read_file
from models.vocabulary import Label
from pipelines.review.many import CANT_SAY, Row

COLUMNS = ("part", "label", "views", "reviewer", "comment")
PART, IMAGE = "defectloop_part", "defectloop_image"  # in the data of a Label Studio task: part and SHA-256 of the image


def read(path: Path, by: str | None) -> list[Row]:
    """Return the answers of a file, in its order; rows without a label are not answered yet and are left out.

    `by` is the reviewer of rows that name none. Raises BadInput, with the line, for anything that cannot be read.
    """
    data = read_file(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: not UTF-8.", next_step="Save the file as UTF-8.") from error
    if text.lstrip()[:1] == "[":
        return of_label_studio(text, path, by)
    return of_table(text, path, by)


def of_table(text: str, path: Path, by: str | None = None) -> list[Row]:
    """Read CSV with the columns part and label (good, defect, cant-say), and optionally views (of a defective part with
    several images, separated by |), reviewer and comment. Comma, semicolon and tab separate columns. Pure."""
    first = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    reader.fieldnames = names
    missing = [name for name in COLUMNS[:2] if name not in names]
    unknown = [
        name for name in names if name not in COLUMNS and name not in ("campaign", "reason", "file", "verdict", "score")
    ]
    if missing or unknown:
        what = f"the column {missing[0]} is missing" if missing else f"unknown column {unknown[0]!r}"
        raise BadInput(
            f"{path}, line 1: {what}.", next_step=f"Columns: {', '.join(COLUMNS)}; the last three may be absent."
        )
    rows = []
    try:
        for values in reader:
            if None in values:
                raise csv.Error(f"{len(names)} columns are expected, and there are more")
            cell = {name: (value or "").strip() for name, value in values.items()}
            if not cell["label"]:
                continue
            rows.append(
                Row(
                    where=f"line {reader.line_num}",
                    part=cell["part"],
                    answer=cell["label"].lower().replace("_", "-").replace("can't say", CANT_SAY),
                    reviewer=cell.get("reviewer") or by or "",
                    views=tuple(view.strip() for view in cell.get("views", "").split("|") if view.strip()),
                    comment=cell.get("comment") or None,
                )
            )
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}.", next_step="Correct the file.") from error
    return rows


def of_label_studio(text: str, path: Path, by: str | None = None) -> list[Row]:
    """Read the JSON or JSON-MIN export of a project that `defectloop export label-studio --waiting` made. Pure.

    A part is defective if one of its images is; it is good if all of them are. A part of which an image has no annotation
    yet is left out.
    """
    try:
        tasks = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON: {error}.", next_step="Export the project again (JSON).") from error
    of_part: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
    unanswered: set[str] = set()
    for number, task in enumerate(tasks, start=1):
        data = task.get("data", task) if isinstance(task, dict) else {}
        where = f"task {task.get('id', number)}" if isinstance(task, dict) else f"task {number}"
        if PART not in data or IMAGE not in data:
            raise BadInput(
                f"{path}, {where}: no part of this line is named.",
                next_step="--from reads projects made with: defectloop export label-studio DIR --waiting. "
                "Other exports bring new images: defectloop ingest FILE",
            )
        answer = _answer(task)
        if answer is None:
            unanswered.add(data[PART])
        else:
            of_part[data[PART]].append((where, data[IMAGE], *answer))
    return [_row(part, images, by) for part, images in of_part.items() if part not in unanswered]


def _row(part: str, images: list[tuple[str, str, str, str]], by: str | None) -> Row:
    labels = {label for _, _, label, _ in images}
    answer = next((one for one in (Label.DEFECT.value, CANT_SAY) if one in labels), Label.GOOD.value)
    unknown = sorted(labels - {*Label, CANT_SAY})
    shown = tuple(image for _, image, label, _ in images if label == Label.DEFECT)
    people = list(dict.fromkeys(who for _, _, _, who in images if who))
    return Row(
        where=", ".join(where for where, *_ in images),
        part=part,
        answer=unknown[0] if unknown else answer,
        reviewer=by or ", ".join(people),
        views=shown if answer == Label.DEFECT and len(images) > 1 else (),
        comment="could not be judged in Label Studio" if answer == CANT_SAY else None,
    )


def _answer(task: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the chosen label and the person, from the latest annotation that was not cancelled."""
    if "annotations" not in task:  # JSON-MIN
        return (str(task["label"]), _who(task.get("annotator"))) if task.get("label") else None
    done = [one for one in task["annotations"] or [] if not one.get("was_cancelled")]
    done.sort(key=lambda one: (bool(one.get("ground_truth")), one.get("updated_at") or one.get("created_at") or ""))
    for annotation in reversed(done):
        for result in annotation.get("result") or []:
            choices = result.get("value", {}).get("choices") if result.get("from_name") == "label" else None
            if choices:
                return str(choices[0]), _who(annotation.get("completed_by"))
    return None


def _who(person: Any) -> str:
    if isinstance(person, dict):
        return str(person.get("email") or person.get("first_name") or _who(person.get("id")))
    return f"Label Studio user {person}" if isinstance(person, int) else str(person or "")
