"""The ledger's tables. Each class is also a dataclass, so rows are records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, String, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column


def now() -> datetime:
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A time with a zone, stored as UTC because SQLite has no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=UTC)


class Record(MappedAsDataclass, DeclarativeBase, kw_only=True):
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Chained(Record):
    """A record whose rows are in the hash chain of their line (`pipelines.ledger.chain`).

    Columns added later are nullable, and none is renamed or dropped, because that would change the hashes of rows.
    """

    __abstract__ = True

    id: Mapped[int]
    line: Mapped[str]


class ChainEntry(Record):
    """An entry of the hash chain of a line. A row that is changed gets another entry; the last one counts."""

    __tablename__ = "chain"
    __table_args__ = ({"sqlite_with_rowid": False},)  # one tree instead of two

    line: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1, without gaps
    record: Mapped[str]  # name of the table
    record_id: Mapped[int]
    record_sha256: Mapped[str]
    hash: Mapped[str]  # of this entry and the hash before it
    chained_at: Mapped[datetime]


class Inspection(Chained):
    """One verdict on one image. `request_id` is unique within a line, so a repeated request is not inspected again."""

    __tablename__ = "inspections"
    __table_args__ = (
        UniqueConstraint("line", "request_id"),
        Index("ix_inspections_line_part", "line", "part"),
        Index("ix_inspections_line_id", "line", "id"),
        Index("ix_inspections_search", "line", "inspected_at", "id", "verdict", "model_version", "slice"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    request_id: Mapped[str]
    line: Mapped[str]
    part: Mapped[str]  # stated, or named after the bytes: `pipelines.part_names`
    slice: Mapped[str | None]  # as the line reported it
    source: Mapped[str]
    image: Mapped[str]  # SHA-256 of the original bytes, in the image store
    captured_at: Mapped[datetime | None]
    inspected_at: Mapped[datetime]
    model_version: Mapped[str]
    artefact_sha256: Mapped[str]
    score: Mapped[float]
    raw_score: Mapped[float]
    verdict: Mapped[str]
    latency_ms: Mapped[float]
    descriptors: Mapped[dict[str, Any]]
    regions: Mapped[list[Any]]
    view: Mapped[str | None] = mapped_column(default=None)  # side, light or station; None: not stated
    file_name: Mapped[str | None] = mapped_column(default=None)  # as delivered, so that people can find it
    class_probabilities: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)  # by defect type
    pass_below: Mapped[float | None] = mapped_column(default=None)  # the operating point that gave the verdict; None
    fail_from: Mapped[float | None] = mapped_column(default=None)  # for inspections of older releases


class Rejection(Chained):
    """An image that could not be inspected. It is kept in the image store, with the reason here."""

    __tablename__ = "rejections"
    __table_args__ = (UniqueConstraint("line", "request_id"), Index("ix_rejections_line_part", "line", "part"))

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    request_id: Mapped[str]
    line: Mapped[str]
    part: Mapped[str]
    source: Mapped[str]
    image: Mapped[str]
    reason: Mapped[str]
    rejected_at: Mapped[datetime]
    file_name: Mapped[str | None] = mapped_column(default=None)
    view: Mapped[str | None] = mapped_column(default=None)


class DriftCheck(Chained):
    """A comparison of the latest inspections by one model version with the reference on which it was accepted."""

    __tablename__ = "drift_checks"
    __table_args__ = (UniqueConstraint("line", "model_version", "last_inspection"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    slice: Mapped[str | None]  # most frequent reported slice of the window
    checked_at: Mapped[datetime]
    model_version: Mapped[str]
    first_inspection: Mapped[int | None]
    last_inspection: Mapped[int | None]
    n: Mapped[int]
    n_reference: Mapped[int]
    judged: Mapped[bool]  # False: too few inspections
    drifted: Mapped[bool]
    share_drifted: Mapped[float]
    columns: Mapped[dict[str, Any]]
    top_descriptors: Mapped[list[Any]]
    explanation: Mapped[str]
    report: Mapped[str | None]
    event_id: Mapped[str | None] = mapped_column(unique=True)
    cause: Mapped[str | None] = mapped_column(default=None)  # acquisition, product or defect rate; of a drift
    since: Mapped[datetime | None] = mapped_column(default=None)  # when the part was inspected at which a drift began
    numbers: Mapped[dict[str, Any] | None] = mapped_column(default=None)  # `pipelines.monitoring.monitor.numbers_of`


class Event(Record):
    """An event that starts or continues a retraining. It is sent again until a request takes it."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_line", "line"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str]
    name: Mapped[str]
    payload: Mapped[dict[str, Any]]
    happened_at: Mapped[datetime]
    sent_at: Mapped[datetime | None] = mapped_column(default=None)  # latest sending; a server may still lose it
    request_id: Mapped[int | None] = mapped_column(ForeignKey("retraining_requests.id"), default=None)


class Campaign(Record):
    """A request for labels. It ends when every part is answered, when a person closes it, or when its time is over."""

    __tablename__ = "campaigns"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    wanted: Mapped[int]
    opened_at: Mapped[datetime]
    completed_at: Mapped[datetime | None] = mapped_column(default=None)  # when it ended, for any reason
    closed_by: Mapped[str | None] = mapped_column(default=None)  # person who ended it early
    closed_because: Mapped[str | None] = mapped_column(default=None)  # reason for ending it early


class CampaignPart(Record):
    """One part that a campaign asks about, with the reason for its choice."""

    __tablename__ = "campaign_parts"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspections.id"))
    chosen_for: Mapped[str]


class Review(Chained):
    """A person's answer about a part. Reviews are never overwritten; the latest answer is used."""

    __tablename__ = "reviews"
    __table_args__ = (Index("ix_reviews_line_part", "line", "part"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    part: Mapped[str]
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))
    inspection_id: Mapped[int] = mapped_column(
        ForeignKey("inspections.id")
    )  # the part's latest inspection at that time
    label: Mapped[str | None]  # label of the part; None unless the answer is `label`
    reviewer: Mapped[str]
    comment: Mapped[str | None]
    reviewed_at: Mapped[datetime]
    answer: Mapped[str] = mapped_column(default="label")  # label, cant_say or skip
    images: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)  # SHA-256 of an image to its label


class RequestState(TypeDecorator[str]):
    """The state of a retraining request. Rows of older releases keep their words and are read as the present ones."""

    impl = String
    cache_ok = True
    FORMER: ClassVar[dict[str, str]] = {"open": "requested", "labelling": "awaiting_labels", "declined": "cancelled"}

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.FORMER.get(value, value)


class RetrainingRequest(Chained):
    """A retraining request, from its trigger to its outcome."""

    __tablename__ = "retraining_requests"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    trigger: Mapped[str]
    event_id: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(RequestState())  # `pipelines.ledger.events.OPEN` or `CLOSED`
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None] = mapped_column(default=None)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"), default=None)
    flow_run_id: Mapped[str | None] = mapped_column(default=None)
    new_labels: Mapped[int] = mapped_column(default=0)
    last_review: Mapped[int | None] = mapped_column(default=None)  # latest review that it used
    snapshot: Mapped[str | None] = mapped_column(default=None)
    version: Mapped[str | None] = mapped_column(default=None)
    outcome: Mapped[str] = mapped_column(default="")
    shift: Mapped[str | None] = mapped_column(default=None)  # the drift that made it: champion and slice
    needs_approval: Mapped[bool | None] = mapped_column(default=None)
    approved_by: Mapped[str | None] = mapped_column(default=None)
    approved_because: Mapped[str | None] = mapped_column(default=None)
    cancelled_by: Mapped[str | None] = mapped_column(default=None)  # a person; the reason is in `outcome`
    training_s: Mapped[float | None] = mapped_column(default=None)  # from snapshot to decision, all runs together


class Promotion(Chained):
    """A decision about the champion. It is stored before the registry changes, and marked as done afterwards."""

    __tablename__ = "promotions"
    __table_args__ = (Index("ix_promotions_follows", "line", "follows", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    kind: Mapped[str]  # promote, refuse, rollback, or wait (for a person)
    version: Mapped[str]
    champion_before: Mapped[str | None]
    reasons: Mapped[list[Any]]
    numbers: Mapped[dict[str, Any]]
    state: Mapped[str]  # pending, done, or overtaken (the champion changed before it was carried out)
    decided_at: Mapped[datetime]
    done_at: Mapped[datetime | None] = mapped_column(default=None)
    follows: Mapped[int | None] = mapped_column(
        default=None
    )  # the decision before it, 0: none; None: an older release's


class Withdrawal(Chained):
    """A champion that was rolled back. Its file cannot be promoted again until a person lifts the withdrawal."""

    __tablename__ = "withdrawals"
    __table_args__ = (Index("ix_withdrawals_line", "line"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    version: Mapped[str]
    artefact_sha256: Mapped[str | None]  # null for rollbacks of older versions without inspections
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotions.id"), unique=True, init=False)  # the rollback
    reason: Mapped[str]
    withdrawn_by: Mapped[str | None]
    withdrawn_at: Mapped[datetime]
    lifted_by: Mapped[str | None] = mapped_column(default=None)
    lifted_for: Mapped[str | None] = mapped_column(default=None)  # the person's reason
    lifted_at: Mapped[datetime | None] = mapped_column(default=None)


class PartCompletion(Chained):
    """A declaration by the line that all images of a part were sent, with the views that it expected."""

    __tablename__ = "part_completions"
    __table_args__ = (Index("ix_part_completions_line_part", "line", "part"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    part: Mapped[str]
    expected: Mapped[list[Any]]  # names of views, or one number; empty: those that were sent
    completed_at: Mapped[datetime]


class ImageDeletion(Chained):
    """The deletion of an image under the line's rules of retention. It is stored before the image is removed.

    The rows that name the image stay. The same image may be stored again later, and be deleted again.
    """

    __tablename__ = "image_deletions"
    __table_args__ = (
        Index("ix_image_deletions_image", "image"),
        Index("ix_image_deletions_line_state", "line", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    image: Mapped[str]  # SHA-256 of the bytes
    rule: Mapped[str]  # in words, with the number of days
    bytes: Mapped[int]
    decided_by: Mapped[str]  # user and host of the command
    decided_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(
        default="pending"
    )  # pending, deleted, or kept (needed again before it was removed)
    done_at: Mapped[datetime | None] = mapped_column(default=None)


class ShadowVerdict(Record):
    """A challenger's verdict on an image that another version answered. It was never answered."""

    __tablename__ = "shadow_verdicts"
    __table_args__ = (UniqueConstraint("inspection_id", "artefact_sha256"), Index("ix_shadow_verdicts_line", "line"))

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspections.id"))
    model_version: Mapped[str]
    artefact_sha256: Mapped[str]
    score: Mapped[float]
    raw_score: Mapped[float]
    verdict: Mapped[str]
    judged_at: Mapped[datetime]
