"""Locations and deadlines from environment variables: `DEFECTLOOP_*` and MLflow's own.

None of these settings changes a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import BadParams


class Settings(BaseSettings):
    """Unset locations default to the workspace's `.defectloop/` (see `pipelines.workspace`)."""

    model_config = SettingsConfigDict(env_prefix="DEFECTLOOP_", frozen=True, extra="forbid", populate_by_name=True)

    state: Path | None = None  # DEFECTLOOP_STATE: local state of the workspace
    ledger: str | None = None  # DEFECTLOOP_LEDGER: SQLAlchemy URL
    store: str | None = None  # DEFECTLOOP_STORE: s3://bucket/prefix or a directory
    remote: str | None = None  # DEFECTLOOP_REMOTE: DVC remote, s3://… or a directory
    artifacts: str | None = None  # DEFECTLOOP_ARTIFACTS: MLflow's artifacts, s3://… or a directory
    deadline_s: Annotated[float, Field(gt=0)] = (
        60.0  # DEFECTLOOP_DEADLINE_S: one call to a server, see pipelines.deadlines
    )
    tracking: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")


def load() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise BadParams(f"Environment: {error}", next_step="Correct the variable.") from error
