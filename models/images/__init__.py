"""Bytes, pixels, and what can be said about an image without a model."""
