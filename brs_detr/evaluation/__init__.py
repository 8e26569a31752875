"""Evaluate a checkpoint, calibrate its scores, and write the report of a run."""
