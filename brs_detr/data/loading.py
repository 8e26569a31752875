"""Image loading that names the file it fails on."""

from __future__ import annotations

from mmcv.transforms import LoadImageFromFile

from brs_detr.data.images import UnreadableImage


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
