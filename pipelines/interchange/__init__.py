"""What ingest and dataset_export must agree on: how a file of another tool holds what only defectloop knows."""
