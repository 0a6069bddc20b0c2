"""From a raw score to a probability and a verdict: calibration, thresholds, the scale of heatmaps."""
