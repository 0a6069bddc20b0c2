"""Calibration of raw scores, thresholds for verdicts and the scale of heatmaps."""
