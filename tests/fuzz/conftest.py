from tiny_runs import shapes, tiny_config  # noqa: F401
