"""The operators are tested through `mmcv.ops`, which can be imported only on a prepared platform."""

from __future__ import annotations

from brs_detr.mm.platform import prepare

prepare()
