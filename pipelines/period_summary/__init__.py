"""A readable page about a period of the ledger, for an auditor."""
