"""The stages of dvc.yaml, from a snapshot to a registered version."""
