"""Evaluate a checkpoint, calibrate its scores, and report on its run."""
