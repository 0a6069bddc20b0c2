"""Deletes production images whose time is over, and keeps their records.

Safe to kill at any time: a deletion is recorded before the image is removed, and the next run carries out what is pending.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from models.errors import BadParams
from pipelines import locks, progress, service_file
from pipelines.image_files.image_store import ImageStore, open_store
from pipelines.ledger import deletions, image_uses
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import now
from pipelines.retention import learning, pictures
from pipelines.retention.rules import REJECTED, Retention
from pipelines.workspace import Workspace

BLOCK = 500  # images that are decided about in one transaction, and then removed
IN_DATASET = "the dataset has them"
ASKED = "an open campaign asks about their part"
TO_LEARN = "a review gave them a label that no dataset has yet"
SHARED = "a part whose time is not over shows the same image"
OTHER_LINE = "another line shows the same image"


@dataclass(frozen=True)
class Amount:
    images: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Retained:
    """What a run has deleted, or a dry run would delete, by rule. `kept` counts images that are over their time and stay, by
    the reason. `bytes` are those of all deleted files."""

    line: str
    dry_run: bool
    rules: Retention
    deleted: dict[str, Amount]
    pictures: int  # with heatmaps, of the deleted images
    bytes: int
    kept: dict[str, int]


@dataclass
class Plan:
    """Images by the rule by which they are due, and why others stay although they are over their time."""

    due: dict[str, str] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)

    def keep(self, images: set[str] | frozenset[str], reason: str) -> None:
        for image in images & self.due.keys():
            del self.due[image]
            self.kept[reason] += 1


def run(workspace: Workspace, *, dry_run: bool = False, at: Callable[[], datetime] = now) -> Retained:
    """Delete the images of the line that are over their time by section `retention` of service.yaml.

    Raises Busy while another run goes on, Unreachable if the store does not answer, and BadParams if other ledgers might use
    the store.
    """
    line = workspace.params().line
    rules = service_file.section(workspace.root, "retention", Retention)
    _require_own_store(workspace, rules)
    alone = nullcontext() if dry_run else locks.retention_lock(workspace, line)
    with alone, progress.working("retention"), Ledger.open(workspace.ledger_url) as ledger:
        store, seen = open_store(workspace.store_url), deletions.seen(ledger)
        plan = _plan(workspace, ledger, line, rules, at())
        left = deletions.pending(ledger, line)  # decided by a run that was killed
        wanted = {image: (plan.due[image], 0) for image in left if image in plan.due}
        wanted |= {image: (plan.due[image], size) for image, size in store.stored() if image in plan.due}
        if not dry_run:
            deletions.done(ledger, line, [image for image in left if image not in plan.due], deletions.KEPT)
        deleted: dict[str, Amount] = {}
        remaining = iter(progress.track("images", list(wanted), len(wanted)))
        while block := list(islice(remaining, BLOCK)):
            chosen = block if dry_run else _delete(ledger, line, store, {image: wanted[image] for image in block}, seen)
            for image in chosen:
                rule, size = wanted[image]
                so_far = deleted.get(rule, Amount())
                deleted[rule] = Amount(so_far.images + 1, so_far.bytes + size)
        gone = pictures.of(workspace, ledger, line, wanted.keys())
        size = sum(amount.bytes for amount in deleted.values()) + sum(path.stat().st_size for path in gone)
        if not dry_run:
            for path in gone:
                path.unlink(missing_ok=True)
    return Retained(line, dry_run, rules, dict(sorted(deleted.items())), len(gone), size, dict(plan.kept))


def _plan(workspace: Workspace, ledger: Ledger, line: str, rules: Retention, at: datetime) -> Plan:
    """Choose the images that are due. An image that several parts show is due when it is for each of them."""
    plan, young, asked = Plan(), set[str](), set[str]()
    rejected = image_uses.rejected(ledger, line)
    unclear = {one.part for one in rejected}  # an unreadable view may have shown a defect
    parts_asked = image_uses.asked_about(ledger, line)
    for use in image_uses.parts(ledger, line):
        verdict = "review" if use.verdict == "pass" and use.part in unclear else use.verdict
        rule = rules.due(verdict, use.last, at)
        if rule is None:
            young |= use.images
        else:
            plan.due |= dict.fromkeys(use.images, rule)
        if use.part in parts_asked:
            asked |= use.images
    for one in rejected:
        rule = rules.due(REJECTED, one.rejected_at, at)
        if rule is None:
            young.add(one.image)
        else:
            plan.due.setdefault(one.image, rule)
    if plan.due:
        plan.keep(young, SHARED)
        plan.keep({image for image in image_uses.of_other_lines(ledger, line) if image in plan.due}, OTHER_LINE)
        plan.keep(learning.in_dataset(workspace), IN_DATASET)
        plan.keep(asked, ASKED)
        plan.keep(learning.to_learn(workspace, ledger), TO_LEARN)
    return plan


def _delete(
    ledger: Ledger, line: str, store: ImageStore, wanted: dict[str, tuple[str, int]], seen: deletions.Seen
) -> list[str]:
    chosen = deletions.decide(ledger, line, wanted, _who(), seen)
    store.remove(chosen)
    deletions.done(ledger, line, chosen)
    return chosen


def _require_own_store(workspace: Workspace, rules: Retention) -> None:
    """Raise BadParams unless all that uses the store is in this ledger, where one can look what still needs an image."""
    if rules.keeps_everything or rules.own_store or workspace.store_url == str(workspace.state / "images"):
        return
    raise BadParams(
        f"The image store {workspace.store_url} may be used by lines with other ledgers, whose inspections cannot be seen "
        "from here. Nothing was deleted.",
        next_step="Give each ledger a store of its own (another folder or prefix in DEFECTLOOP_STORE), and say so with "
        "retention.own_store: true in service.yaml.",
    )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
