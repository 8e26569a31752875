from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.errors import UserError
from brs_detr.predict.coco_ids import find_category_ids, find_image_ids
from brs_detr.predict.sources import Source

IMAGES = [
    {"id": number, "file_name": name}
    for number, name in enumerate(("1.jpg", "a/1.jpg", "b\\1.jpg", "b/2.jpg", "/old/home/ma\u0308h.jpg"), start=101)
]


def ids(*paths: str, image_dir: str | None = None) -> list[int]:
    sources = [Source(f"{number} {path}", Path(path)) for number, path in enumerate(paths)]
    found = find_image_ids(sources, IMAGES, None if image_dir is None else Path(image_dir))
    return [found[source.name] for source in sources]


def test_in_the_image_folder_the_whole_path_counts() -> None:
    assert ids("data/1.jpg", "data/a/1.jpg", "data/x/../b/2.jpg", image_dir="data") == [101, 102, 104]
    assert ids(str(Path("data/a/1.jpg").absolute()), image_dir="data") == [102]
    for path in ("data/c/1.jpg", "data/2.jpg", "data/a/b/2.jpg"):
        with pytest.raises(UserError, match=f"have no image 0 {path}"):
            ids(path, image_dir="data")


def test_elsewhere_the_longest_end_of_the_path_counts() -> None:
    assert ids("/copy/a/1.jpg", "/copy/b/1.jpg", image_dir="data") == [102, 103]
    assert ids("photos/2.jpg", "m\u00e4h.jpg") == [104, 105]
    for path in ("/copy/1.jpg", "/copy/c/1.jpg"):
        with pytest.raises(UserError, match=r"any of several .*1.jpg \(image 101\), a/1.jpg \(image 102\), b"):
            ids(path)


def test_two_images_never_share_an_id() -> None:
    with pytest.raises(UserError, match=r"0 x/2.jpg and 1 y/2.jpg would both be image 104 \(b/2.jpg\)"):
        ids("x/2.jpg", "y/2.jpg")


def test_a_camera_and_a_class_may_be_unknown() -> None:
    with pytest.raises(UserError, match="have no image webcam0"):
        find_image_ids([Source("webcam0", None, True, 0)], IMAGES, None)
    with pytest.raises(UserError, match="have no class dog, which the model finds; they have cat"):
        find_category_ids(["dog", "cat"], [{"id": 4, "name": "cat"}])
    assert find_category_ids(["cat"], [{"id": 4, "name": "cat"}]) == {"cat": 4}
