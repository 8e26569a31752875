from tiny_runs import one_thread  # noqa: F401
