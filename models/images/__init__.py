"""Image decoding, masks, descriptors, near duplicates, augmentation and tiling. No networks."""
