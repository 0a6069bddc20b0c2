"""Training code that the kinds of detectors share."""
