"""Section `retention` of service.yaml: after how many days the images of a part are deleted. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from models.vocabulary import Verdict
from pipelines.service_file import Section

Days = Annotated[float, Field(gt=0)]
REJECTED = "rejected"  # images that could not be inspected


class Retention(Section):
    """Days by the verdict on the part, counted from its latest inspection; None: its images are kept for ever."""

    pass_days: Days | None = None
    review_days: Days | None = None
    fail_days: Days | None = None
    rejected_days: Days | None = None  # images that could not be inspected, counted from their rejection
    own_store: bool = False  # no other ledger uses the image store, where DEFECTLOOP_STORE names one

    @property
    def keeps_everything(self) -> bool:
        return not any((self.pass_days, self.review_days, self.fail_days, self.rejected_days))

    def due(self, kind: str, since: datetime, at: datetime) -> str | None:
        """Return the rule, in words, by which an image is to be deleted at a time; None: it is kept. `kind` is a verdict, or
        `rejected`."""
        days = {
            Verdict.PASS.value: self.pass_days,
            Verdict.REVIEW.value: self.review_days,
            Verdict.FAIL.value: self.fail_days,
            REJECTED: self.rejected_days,
        }[kind]
        if days is None or at - since < timedelta(days=days):
            return None
        return f"{kind}: {days:g} days"
