"""Faults at random moments in every command that writes; run again, the command ends as it would have undisturbed.

`python -m tests.torture` runs it, `make torture` for half an hour; `docs/reliability.md` says what it holds the code to.
"""
