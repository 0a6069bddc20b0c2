"""`defectloop demo`: the whole loop on real images of solar cells."""
