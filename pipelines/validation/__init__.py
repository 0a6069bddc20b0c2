"""The contract that a dataset must keep, and what fails it."""
