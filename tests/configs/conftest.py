"""mmengine and mmdet can be imported once the platform is prepared."""

from brs_detr.platform import prepare

prepare()
