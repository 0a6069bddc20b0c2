"""What ingest and handover must agree on: how a file of another tool holds what only defectloop knows."""
