"""The files of images: the image store, hash checks, repair from snapshots, quarantine and fingerprints."""
