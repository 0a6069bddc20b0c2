"""Merges the data of two branches. Parts that were used for training stay out of the test split."""
