"""Checkpoints and other files of weights: what is in them, and how they are read without running anything."""
