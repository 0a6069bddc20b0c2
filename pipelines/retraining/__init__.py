"""Retraining requests, and the clone of the workspace in which automation works."""
