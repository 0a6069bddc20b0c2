"""Scarce data: synthetic defects, and pictures of what training sees."""
