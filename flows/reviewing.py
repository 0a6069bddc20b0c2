"""Ground truth from people, for the command line and the review page alike; the last label starts the next flow."""

from __future__ import annotations

from uuid import uuid5

from pipelines.ledger.inspections import Inspection
from pipelines.ledger.ledger import Ledger
from pipelines.review.campaign import CampaignProgress, record
from pipelines.workspace import Workspace
