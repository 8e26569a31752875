"""The classes that feed a data set to mmdet. `registry.register` makes them known to its configs."""
