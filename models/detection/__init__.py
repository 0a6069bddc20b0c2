"""Detectors that learn boxes with types."""
