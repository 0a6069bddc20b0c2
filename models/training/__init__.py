"""What the kinds of detectors share when they learn."""
