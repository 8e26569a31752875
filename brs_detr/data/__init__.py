"""Datasets: readers of formats, checks, writers, synthetic shapes, and the classes that feed mmdet."""
