"""Templates and helpers for HTML pages with pictures."""
