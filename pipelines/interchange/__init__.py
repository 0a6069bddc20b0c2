"""Formats shared by ingest and dataset_export: how files of other tools carry information that only defectloop has."""
