"""The audit: problems of the dataset as a whole, such as duplicates, leaks and label errors, with advice."""
