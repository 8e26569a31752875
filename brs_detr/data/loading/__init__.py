"""The classes that feed a dataset to mmdet. `registry.register` makes them known to its configs."""
