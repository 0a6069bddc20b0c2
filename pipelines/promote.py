"""Put a version through the gate and change the champion, or record why not. Also the way back.

The decision is in the ledger before the registry changes and marked done after it, so a killed promotion is finished
by the next one. Decisions of a line come one after the other; a champion that moved meanwhile stops the change.
"""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
from pyarrow import parquet

from models import annotation_table, costs, evaluation
from models.costs import PartCosts
from models.errors import NotReady, Refused
from models.params import Params
from models.runtime import Detector
from models.vocabulary import Split
from pipelines import gate, line_defect_rate, lineage
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import CHALLENGER, CHAMPION, ModelVersion
from pipelines.gate import Contender, Decision
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now
from pipelines.locks import line_lock
from pipelines.workspace import Workspace

LOCK_WAIT_S = 600.0


def promote(workspace: Workspace, number: str) -> Decision:
    """The gate's decision about a version, carried out. Asked again about the same rivals, it gives the same answer."""
    params = workspace.params()
    with line_lock(workspace, params.line, LOCK_WAIT_S), Ledger.open(workspace.ledger_url) as ledger:
        version = model_registry.version(workspace, params.line, number)
        champion = model_registry.champion(workspace, params.line)
        before = champion.version if champion else None
        known = promotions.last(ledger, params.line, version=number)
        rate = line_defect_rate.of_line(workspace).rate
        judged_under = _judged_under(workspace, params, rate)
        if known is not None and _still_holds(known, before, judged_under):
            _carry_out(workspace, ledger, known, before)
            return Decision(known.kind != "refuse", tuple(known.reasons), known.numbers)
        decision = _decide(workspace, params, version, champion, rate)
        record = promotions.add(
            ledger,
            Promotion(
                line=params.line,
                kind="promote" if decision.promote else "refuse",
                version=number,
                champion_before=before,
                reasons=list(decision.reasons),
                numbers=decision.numbers | {"judged_under": judged_under, "defect_rate": rate} | _learned_from(version),
                state="pending",
                decided_at=now(),
            ),
        )
        _carry_out(workspace, ledger, record, before)
    return decision


def rollback(workspace: Workspace, to: str | None = None) -> Decision:
    """Make an earlier version champion again: `to`, or the one before the present champion. Raises NotReady without one."""
    line = workspace.params().line
    with line_lock(workspace, line, LOCK_WAIT_S), Ledger.open(workspace.ledger_url) as ledger:
        champion = model_registry.champion(workspace, line)
        if champion is None:
            raise NotReady(f"Line {line} has no champion.", next_step="Train one: defectloop train")
        begun = promotions.last(ledger, line)
        if begun is not None and (begun.kind, begun.state) == ("rollback", "pending") and to in (None, begun.version):
            _carry_out(
                workspace, ledger, begun, begun.champion_before
            )  # a killed rollback: finish it, and no second one
            return Decision(True, tuple(begun.reasons), begun.numbers)
        target = to or _before(promotions.all_of(ledger, line), champion.version)
        if target is None:
            raise NotReady(
                f"There was no champion before version {champion.version}.", next_step="Name one: --to VERSION"
            )
        model_registry.version(workspace, line, target)
        reason = f"rolled back from version {champion.version} to {target}"
        record = promotions.add(
            ledger,
            Promotion(
                line=line,
                kind="rollback",
                version=target,
                champion_before=champion.version,
                reasons=[reason],
                numbers={},
                state="pending",
                decided_at=now(),
            ),
        )
        _carry_out(workspace, ledger, record, champion.version)
    return Decision(True, (reason,), {})


def predictions(workspace: Workspace, version: ModelVersion) -> pa.Table:
    """What a version answers on the present snapshot's test parts; computed once for each pair of file and snapshot."""
    sha256, snapshot = version.tags[model_registry.ARTEFACT], lineage.data_hash(workspace)
    kept = workspace.state / "evaluations" / f"{sha256[:20]}-{snapshot[:20]}.parquet"
    for path in (workspace.artifacts / "evaluate" / "predictions.parquet", kept):
        if path.exists():
            table = parquet.read_table(path)
            origin = table.schema.metadata or {}
            if (origin.get(b"artefact_sha256"), origin.get(b"snapshot")) == (sha256.encode(), snapshot.encode()):
                return table
    detector = Detector(model_registry.download(workspace, version))
    table = evaluation.predict(detector, annotation_table.load(workspace.annotations), workspace.data, Split.TEST)
    table = table.replace_schema_metadata({b"artefact_sha256": sha256.encode(), b"snapshot": snapshot.encode()})
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    parquet.write_table(table, partial)
    partial.replace(kept)
    return table


def _decide(
    workspace: Workspace, params: Params, version: ModelVersion, champion: ModelVersion | None, rate: float | None
) -> Decision:
    challenger, cost = _measured(workspace, params, version, rate)
    if champion is None or champion.version == version.version:
        return gate.decide(challenger, None, None, params.promote)
    rival, rival_cost = _measured(workspace, params, champion, rate)
    return gate.decide(challenger, rival, costs.probability_cheaper(cost, rival_cost, rate), params.promote)


def _measured(
    workspace: Workspace, params: Params, version: ModelVersion, rate: float | None
) -> tuple[Contender, PartCosts]:
    """The version on the present test parts, and what its verdict on each part costs."""
    answers = predictions(workspace, version)
    point = Detector(model_registry.download(workspace, version)).metadata.operating_point
    contender = Contender(
        version.version,
        evaluation.summarise(answers, point, params.evaluate.bootstrap),
        learned_slices=json.loads(version.tags["slices"]),
        steadiness=json.loads(version.tags.get("steadiness", "{}")),
        on_the_line=None if rate is None else evaluation.summarise(answers, point, 0, rate),
    )
    return contender, costs.of_parts(*evaluation.of_parts(answers), point, params.cost)


def _still_holds(known: Promotion, champion: str | None, judged_under: str) -> bool:
    """A pending decision is to be finished. A done one stands as long as the champion is the one it left behind, and a
    refusal only as long as rules and test parts are the same."""
    if known.state == "pending":
        return champion in (known.champion_before, known.version)
    if known.kind == "refuse":
        return champion == known.champion_before and known.numbers.get("judged_under") == judged_under
    return champion == known.version


def _judged_under(workspace: Workspace, params: Params, rate: float | None) -> str:
    """A rate counts with two digits: an estimate that hardly moves reopens nothing."""
    rules = params.model_dump_json(include={"promote", "cost", "evaluate"})
    said = f"{rules} {lineage.data_hash(workspace)}" + ("" if rate is None else f" {rate:.2g}")
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _learned_from(version: ModelVersion) -> dict[str, str]:
    """So that the ledger alone knows what data stands behind a champion: the registry takes seconds to load."""
    return {name: version.tags[name] for name in ("data_hash", "snapshot")}


def _carry_out(workspace: Workspace, ledger: Ledger, record: Promotion, before: str | None) -> None:
    line = record.line
    if record.kind != "refuse":
        present = model_registry.champion(workspace, line)
        there = present.version if present else None
        if there not in (before, record.version):
            raise Refused(
                f"The champion of line {line} moved from {before} to {there} while version {record.version} was judged.",
                next_step=f"Judge it against the new one: defectloop promote {record.version}",
            )
        if there != record.version:
            model_registry.set_alias(workspace, line, CHAMPION, record.version)
    verdict = "refused" if record.kind == "refuse" else "promoted"
    model_registry.set_tags(
        workspace, line, record.version, {"gate": verdict, "gate_reasons": "; ".join(record.reasons)[:4000]}
    )
    model_registry.drop_alias(workspace, line, CHALLENGER)
    if record.state != "done":
        promotions.mark_done(ledger, record.id)


def _before(known: list[Promotion], champion: str) -> str | None:
    made = [item for item in known if item.version == champion and item.kind != "refuse" and item.state == "done"]
    return made[-1].champion_before if made else None
