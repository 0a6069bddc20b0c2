"""What the project promises about time and memory, measured. Run with `make bench`; not part of CI."""
