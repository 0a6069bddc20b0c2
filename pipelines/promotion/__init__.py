"""Promotion: the gate, changes of the champion, rollback, and comparisons of versions."""
