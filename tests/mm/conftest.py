"""mmengine, mmdet and `mmcv.ops` can be imported once the platform is prepared."""

from __future__ import annotations

from brs_detr.mm.platform import prepare

prepare()
