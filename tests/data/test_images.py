from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from brs_detr.data.images import read_header, read_size
from brs_detr.errors import UserError
from brs_detr.runtime.images import UnreadableImage, read_file


def save(path: Path, **options: object) -> bytes:
    Image.effect_noise((40, 30), 90).convert("RGB").save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
def test_size_is_height_then_width(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"a.{suffix}")
    assert read_size(tmp_path / f"a.{suffix}") == (30, 40)


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 40)), (3, (30, 40)), (6, (40, 30)), (8, (40, 30))])
def test_size_is_the_one_after_exif_rotation(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.jpg", exif=exif)
    assert read_size(tmp_path / "a.jpg") == size


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_size_is_the_one_that_training_loads(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    save(path, exif=exif)
    header = read_header(path)
    assert header.size == read_file(path).shape[:2]
    assert header.stored_size == (30, 40) and header.is_turned == (orientation != 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.0])
def test_a_truncated_image_is_unreadable(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a.{suffix}"
    content = save(path)
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UnreadableImage, match=f"Cannot read the image .*a.{suffix}: "):
        read_size(path)


def test_bytes_behind_the_end_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(save(path) + bytes(5000))
    assert read_size(path) == (30, 40)


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(UnreadableImage, match="it is not an image"):
        read_size(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImage, match="there is no such file"):
        read_size(tmp_path / "b.jpg")


def test_the_error_survives_pickling() -> None:
    error = UnreadableImage.of("a.jpg", "gone")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, UserError) and str(copy) == str(error)
