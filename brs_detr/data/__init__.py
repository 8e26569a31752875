"""Data sets: synthetic shapes, readers and converters, checks, and the classes that feed mmdet.

Nothing is imported here. `registry.register()` is what makes mmdet know the classes that configs name.
"""
