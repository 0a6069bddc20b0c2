"""Floor 2: steps of work, each readable alone."""
