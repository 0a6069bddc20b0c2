"""Retention: which production images are deleted after how many days, and how that is recorded."""
