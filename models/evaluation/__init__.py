"""What a detector answers on test parts, and what follows from it."""
