"""Configs: find, resolve, override, and fill in a dataset."""
