"""Validation: checks the dataset against the data contract and quarantines images that fail."""
