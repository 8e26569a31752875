"""mmengine and mmdet can be imported once the platform is prepared."""

from brs_detr.mm.platform import prepare

prepare()
