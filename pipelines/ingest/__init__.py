"""Deliveries in: formats, parts and splits, into `data/`."""
