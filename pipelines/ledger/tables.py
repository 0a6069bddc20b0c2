"""What the ledger records: one class per table, each a dataclass too, so that a row read is the record itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column


def now() -> datetime:
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A time with its zone, stored as UTC: SQLite keeps no zones."""

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


class Inspection(Record):
    """One verdict on one image. `request_id` makes a repeated delivery the same inspection, within its line."""

    __tablename__ = "inspections"
    __table_args__ = (
        UniqueConstraint("line", "request_id"),
        Index("ix_inspections_line_part", "line", "part"),
        Index("ix_inspections_line_id", "line", "id"),
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
    view: Mapped[str | None] = mapped_column(default=None)  # which side, light or station; None: nobody said
    file_name: Mapped[str | None] = mapped_column(default=None)  # as delivered, so that people find it again


class Rejection(Record):
    """An image that could not be inspected: kept in the store with the reason."""

    __tablename__ = "rejections"
    __table_args__ = (UniqueConstraint("line", "request_id"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    request_id: Mapped[str]
    line: Mapped[str]
    part: Mapped[str]
    source: Mapped[str]
    image: Mapped[str]
    reason: Mapped[str]
    rejected_at: Mapped[datetime]
    file_name: Mapped[str | None] = mapped_column(default=None)


class DriftCheck(Record):
    """The latest inspections of one model version against the reference it was accepted on."""

    __tablename__ = "drift_checks"
    __table_args__ = (UniqueConstraint("line", "model_version", "last_inspection"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    slice: Mapped[str | None]  # what most of the window was reported as
    checked_at: Mapped[datetime]
    model_version: Mapped[str]
    first_inspection: Mapped[int | None]
    last_inspection: Mapped[int | None]
    n: Mapped[int]
    n_reference: Mapped[int]
    judged: Mapped[bool]  # False: too few inspections to say
    drifted: Mapped[bool]
    share_drifted: Mapped[float]
    columns: Mapped[dict[str, Any]]
    top_descriptors: Mapped[list[Any]]
    explanation: Mapped[str]
    report: Mapped[str | None]
    event_id: Mapped[str | None] = mapped_column(unique=True)


class Event(Record):
    """What has to start a retraining, or to go on with one. Sent again until a request answers for it."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_line", "line"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str]
    name: Mapped[str]
    payload: Mapped[dict[str, Any]]
    happened_at: Mapped[datetime]
    sent_at: Mapped[datetime | None] = mapped_column(default=None)  # last time; a server that has it may still lose it
    request_id: Mapped[int | None] = mapped_column(ForeignKey("retraining_requests.id"), default=None)


class Campaign(Record):
    """A budgeted request for ground truth. It ends when every part is answered, when a person closes it, or by expiry."""

    __tablename__ = "campaigns"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    wanted: Mapped[int]
    opened_at: Mapped[datetime]
    completed_at: Mapped[datetime | None] = mapped_column(default=None)  # when it ended, for whatever reason
    closed_by: Mapped[str | None] = mapped_column(default=None)  # the person who ended it early
    closed_because: Mapped[str | None] = mapped_column(default=None)  # why it ended early


class CampaignPart(Record):
    """One part that a campaign asks about, and why it was chosen."""

    __tablename__ = "campaign_parts"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspections.id"))
    chosen_for: Mapped[str]


class Review(Record):
    """What a person said about a part. Never overwritten: the latest answer counts."""

    __tablename__ = "reviews"
    __table_args__ = (Index("ix_reviews_line_part", "line", "part"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    part: Mapped[str]
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspections.id"))  # the part's latest at that time
    label: Mapped[str | None]  # of the part; None with every answer but `label`
    reviewer: Mapped[str]
    comment: Mapped[str | None]
    reviewed_at: Mapped[datetime]
    answer: Mapped[str] = mapped_column(default="label")  # label, cant_say or skip
    images: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)  # SHA-256 to what that image shows


class RetrainingRequest(Record):
    """From the event that asked for it to its outcome."""

    __tablename__ = "retraining_requests"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    trigger: Mapped[str]
    event_id: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[str]  # open, labelling, training, promoted, refused, declined or failed
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None] = mapped_column(default=None)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"), default=None)
    flow_run_id: Mapped[str | None] = mapped_column(default=None)
    new_labels: Mapped[int] = mapped_column(default=0)
    last_review: Mapped[int | None] = mapped_column(default=None)  # the latest one that it learned from
    snapshot: Mapped[str | None] = mapped_column(default=None)
    version: Mapped[str | None] = mapped_column(default=None)
    outcome: Mapped[str] = mapped_column(default="")


class Promotion(Record):
    """A decision about the champion, written before the registry changes and marked done after it."""

    __tablename__ = "promotions"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    kind: Mapped[str]  # promote, refuse or rollback
    version: Mapped[str]
    champion_before: Mapped[str | None]
    reasons: Mapped[list[Any]]
    numbers: Mapped[dict[str, Any]]
    state: Mapped[str]  # pending, done, or overtaken: another champion came before it was carried out
    decided_at: Mapped[datetime]
    done_at: Mapped[datetime | None] = mapped_column(default=None)


class Withdrawal(Record):
    """A champion that was rolled back: nothing promotes its file again until a person lifts this."""

    __tablename__ = "withdrawals"
    __table_args__ = (Index("ix_withdrawals_line", "line"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    line: Mapped[str]
    version: Mapped[str]
    artefact_sha256: Mapped[str | None]  # null for a rollback of before this was kept, where nothing was inspected
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotions.id"), unique=True, init=False)  # the rollback
    reason: Mapped[str]
    withdrawn_by: Mapped[str | None]
    withdrawn_at: Mapped[datetime]
    lifted_by: Mapped[str | None] = mapped_column(default=None)
    lifted_for: Mapped[str | None] = mapped_column(default=None)  # the reason that the person gave
    lifted_at: Mapped[datetime | None] = mapped_column(default=None)
