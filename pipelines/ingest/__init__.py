"""Ingest: reads deliveries in many formats, and assigns parts and splits."""
