"""Box detection: trains on bounding boxes with defect types."""
