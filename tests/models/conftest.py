"""Hypothesis without a deadline: a machine that is busy with other tests made a test of 70 ms take 300."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
