from tiny_runs import one_thread, shapes, tiny_config, trained  # noqa: F401
