"""Anomaly detection: trains on good parts only, and scores how much an image differs from them."""
