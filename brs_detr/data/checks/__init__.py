"""What can be wrong with a dataset, where it is, and how it is mended."""
