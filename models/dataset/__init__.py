"""Labelled images as a table, as examples for training, as tiles."""
