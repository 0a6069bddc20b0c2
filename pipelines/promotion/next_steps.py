"""What a person can change after the gate refused a version, and how to look at the version anyway. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.errors import NotReady
from pipelines.ledger.tables import Promotion

WAITS = "waits for a person"  # `gate.WAITS`; importing the gate would import scipy into every inspection
IN_SHADOW = "waits in the champion's shadow"
# Reasons of `gate` and `promote`, by what they have in common, in the order in which they are looked for.
STEPS = (
    (
        r"test parts, \d+ are needed|test split (has no|is empty)",
        "ingest more labelled parts: some of them become test parts (or lower promote.min_parts)",
    ),
    (r"verdicts (change|flip) when", "let training see such changes: train.augment.views, train.flips; then train"),
    (r"withdrawn", "lift the withdrawal with --lift-withdrawal, --reviewer and --reason if its cause is gone"),
    (r"^not enough evidence", "ingest more labelled parts of that kind: some of them become test parts; then train"),
    (r"^cost on ", "ingest more labelled parts of that slice or defect type, then train"),
    (r"^calibration error|^latency|^score difference", "see what the limit is for in docs/params.md (promote)"),
    (r"cheaper verdicts than", "the champion stays; label more of the new production: defectloop retrain"),
    (
        r"AUROC|escape|overkill|cost",
        "look at the mistakes in artifacts/evaluate/report.html and at doubtful labels with defectloop audit; then "
        "correct labels or ingest more parts, and train",
    ),
)
OTHERWISE = "change what the reason names, then train"


def after(reasons: Sequence[str]) -> list[str]:
    """Return the changes that the reasons of a refusal ask for, each once."""
    if any(WAITS in reason for reason in reasons):
        return ["look at its mistakes in artifacts/evaluate/report.html; then accept it, or improve the data and train"]
    chosen = [next((step for pattern, step in STEPS if re.search(pattern, reason)), OTHERWISE) for reason in reasons]
    return list(dict.fromkeys(chosen))


def no_champion(line: str, refusal: Promotion | None) -> NotReady:
    """Return the error that the line has no champion: the last version was refused (`refusal`), or none was trained."""
    if refusal is None:
        return NotReady(f"Line {line} has no champion yet.", next_step="Train one: defectloop train")
    return NotReady(
        f"Line {line} has no champion: version {refusal.version} was refused: {'; '.join(refusal.reasons)}.",
        next_step=f"{_capital('; '.join(after(refusal.reasons)))}. To see what it answers anyway, without a record: "
        f"defectloop inspect --version {refusal.version} IMAGE",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
