"""Inspection in production, tracing of verdicts, and the status of a line."""
