"""Loading of images and masks that names what it fails on."""

from __future__ import annotations

from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations
from mmengine import fileio

from brs_detr.errors import UserError
from brs_detr.runtime.images import UnreadableImage, read_file


class LoadImage(LoadImageFromFile):
    """mmcv's `LoadImageFromFile` with the pixels that prediction sees, and with errors that a user can act on.

    It stands in for `LoadImageFromFile` in configs that name that.

    Args:
        kwargs: as in mmcv. All images are read by one decoder, whatever `imdecode_backend` says.

    Raises:
        UserError: `color_type` is not `color`, or there are `file_client_args`, an old name of `backend_args`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.color_type != "color" or self.file_client_args:
            raise UserError(
                "LoadImage reads colours of 8 bits, from where `backend_args` says.",
                "Take color_type and file_client_args out of the pipeline.",
            )

    def transform(self, results: dict) -> dict | None:
        """Read `results["img_path"]` into `results["img"]`, uint8 [h, w, 3] in BGR order.

        Raises:
            UnreadableImage: the file is missing or cannot be decoded.
        """
        path = results["img_path"]
        try:
            image = mmcv.rgb2bgr(read_file(path, self._content(path)))
        except UnreadableImage:
            if self.ignore_empty:
                return None
            raise
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _content(self, path: str) -> bytes:
        """Of a file, which may lie in any storage that mmengine knows."""
        try:
            return fileio.get(path, self.backend_args)
        except FileNotFoundError:
            raise UnreadableImage.of(path, "there is no such file") from None
        except Exception as error:
            raise UnreadableImage.of(path, error) from error


class LoadMasks(LoadAnnotations):
    """mmdet's `LoadAnnotations` with boxes and masks, for data in which every object has an outline."""

    def __init__(self, **kwargs) -> None:
        super().__init__(with_bbox=True, with_mask=True, **kwargs)

    def transform(self, results: dict) -> dict:
        """Read boxes, labels and masks of `results["instances"]`.

        Raises:
            UserError: an object has no mask.
        """
        without = sum("mask" not in instance for instance in results["instances"])
        if without:
            raise UserError(
                f"{results['img_path']}: {without} of {len(results['instances'])} objects have no outline.",
                "Masks need a `segmentation` in each annotation; train a detector without masks instead.",
            )
        return super().transform(results)
