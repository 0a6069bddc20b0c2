"""Ground truth from people."""
