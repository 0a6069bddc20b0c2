"""Floor 3: when and in what order."""
