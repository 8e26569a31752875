"""Prepare the platform, so that mmengine, mmdet and `mmcv.ops` can be imported."""

from __future__ import annotations

from brs_detr.mm.platform import prepare

prepare()
