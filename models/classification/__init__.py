"""Classification: trains on one label per image."""
