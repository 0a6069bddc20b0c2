"""The files of images: where they lie, whether they still hold what was ingested, what is set aside."""
