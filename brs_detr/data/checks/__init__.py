"""What can be wrong with a data set, where it is, and how it is mended."""
