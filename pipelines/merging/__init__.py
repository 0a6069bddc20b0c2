"""Two branches' data as one; what was learned from stays learned from."""
