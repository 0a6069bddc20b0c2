"""Whether production still looks like what the champion was accepted on."""
