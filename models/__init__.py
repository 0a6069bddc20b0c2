"""Floor 1: what a defect detector is."""
