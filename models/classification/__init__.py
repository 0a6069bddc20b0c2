"""Detectors that learn from one label per image."""
