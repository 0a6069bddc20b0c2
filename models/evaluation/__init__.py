"""Evaluation of a detector: predictions and metrics on test parts, robustness, agreement with the trained network."""
