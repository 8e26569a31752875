"""Recipes of fine-tuning: which settings suit a data set, and how they are written into a config."""
