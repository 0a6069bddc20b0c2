"""Validated data, frozen and named; what changed between two snapshots."""
