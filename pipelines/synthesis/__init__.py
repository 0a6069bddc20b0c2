"""Synthetic defects, and pages that show them and the augmentation."""
