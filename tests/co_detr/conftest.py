"""mmdet can be imported once the platform is prepared."""

from brs_detr.mm.platform import prepare

prepare()

from tiny_runs import one_thread, tiny_config  # noqa: E402, F401
