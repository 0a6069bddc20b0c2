"""Synthetic defects: drawn, or cut from one part and pasted into another. Only for training."""
