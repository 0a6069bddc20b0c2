"""Segmentation: every pixel is part of a defect or not."""
