"""Floor 2: the steps of work. Each can be read on its own."""
