"""The images on which most went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brs_detr.analysis.confusion import pair_boxes
from brs_detr.analysis.image_boxes import ImageBoxes


@dataclass(frozen=True)
class ImageErrors:
    """What went wrong on one image.

    Args:
        image_id: of the data set.
        file_name: likewise.
        missed: objects that nothing was paired with.
        false: detections that were paired with nothing and do not lie in a crowd.
        confused: detections that were paired with an object of another class.
    """

    image_id: int
    file_name: str
    missed: int
    false: int
    confused: int

    @property
    def total(self) -> int:
        """All errors."""
        return self.missed + self.false + self.confused


def worst_images(images: Iterable[ImageBoxes]) -> tuple[ImageErrors, ...]:
    """Images that have an error, most errors first; see `brs_detr.analysis.confusion.pair_boxes`."""
    errors = []
    for image in images:
        partner = pair_boxes(image)
        is_paired = partner >= 0
        is_confused = image.object_classes[partner[is_paired]] != image.detection_classes[is_paired]
        errors.append(
            ImageErrors(
                image.image["id"],
                str(image.image["file_name"]),
                missed=len(image.objects) - int(is_paired.sum()),
                false=int((~is_paired & ~image.in_crowd).sum()),
                confused=int(is_confused.sum()),
            )
        )
    return tuple(sorted((error for error in errors if error.total), key=lambda error: -error.total))
