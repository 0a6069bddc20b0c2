"""Floor 1: the defect detector itself, without workspace, ledger or tools."""
