"""Segmentation: trains on masks and classifies every pixel as defective or not."""
