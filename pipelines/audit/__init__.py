"""What is wrong, or only odd, about a dataset, and what to do about it."""
