"""Figures and pages that show how good a detector is."""
