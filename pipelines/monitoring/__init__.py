"""Drift monitoring: compares recent production with the reference on which the champion was accepted."""
