"""Detectors that learn from good parts alone: what is unlike anything seen is suspicious."""
