"""Metrics of verdicts, pixels, boxes and defect types, with intervals and costs. Pure functions."""
