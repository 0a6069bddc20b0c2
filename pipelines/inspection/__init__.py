"""Verdicts in production, and the way back from one."""
