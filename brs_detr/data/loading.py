"""Loading of images and masks that names what it fails on."""

from __future__ import annotations

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations

from brs_detr.data.images import UnreadableImage
from brs_detr.errors import UserError


class LoadImage(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, with an error a user can act on; also out of a data loader worker."""

    def transform(self, results: dict) -> dict | None:
        """Read `results["img_path"]` into `results["img"]`, uint8 [h, w, 3] in BGR order.

        Raises:
            UnreadableImage: the file is missing or cannot be decoded.
        """
        path = results["img_path"]
        try:
            return super().transform(results)
        except FileNotFoundError:
            raise UnreadableImage.of(path, "there is no such file") from None
        except Exception as error:
            raise UnreadableImage.of(path, "it is not an image, or its data are damaged") from error


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
