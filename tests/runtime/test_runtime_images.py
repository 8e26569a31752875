from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from brs_detr.runtime.images import SUFFIXES, UnreadableImage, read_pixels

ORIENTATION = 0x0112


def noise(*shape: int) -> np.ndarray:
    """Make coarse noise, which has sharp edges for a codec."""
    coarse = np.random.default_rng(sum(shape)).integers(0, 256, (9, 9, *shape[2:]), np.uint8)
    return cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC)


def in_opencv(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


JPEG_KINDS = [
    dict(quality=quality, subsampling=subsampling, progressive=progressive)
    for quality in (50, 95)
    for subsampling in (0, 1, 2)
    for progressive in (False, True)
]


@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_decoded_as_in_opencv(tmp_path: Path, kind: dict[str, Any], mode: str) -> None:
    Image.fromarray(noise(61, 83, 3)).convert(mode).save(tmp_path / "p.jpg", **kind)
    np.testing.assert_array_equal(read_pixels(tmp_path / "p.jpg"), in_opencv(tmp_path / "p.jpg"))


def test_jpeg_in_printing_inks_is_decoded_as_in_opencv(tmp_path: Path) -> None:
    Image.fromarray(noise(61, 83, 4), "CMYK").save(tmp_path / "p.jpg", quality=95)
    np.testing.assert_array_equal(read_pixels(tmp_path / "p.jpg"), in_opencv(tmp_path / "p.jpg"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_png_is_decoded_as_in_opencv(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise(31, 47, 3)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(noise(31, 47)))
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "p.png"), in_opencv(tmp_path / "p.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(noise(31, 47, 3)).save(tmp_path / "p.jpg", exif=exif)
    np.testing.assert_array_equal(read_pixels(tmp_path / "p.jpg"), in_opencv(tmp_path / "p.jpg"))


def damaged(image_format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(31, 47, 3)).save(stream, image_format)
    content = stream.getvalue()
    return content[: len(content) * 3 // 4]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_damaged_files_are_named(tmp_path: Path, image_format: str) -> None:
    (tmp_path / "p.jpg").write_bytes(damaged(image_format))
    with pytest.raises(UnreadableImage, match=r"Cannot read the image .*p\.jpg: "):
        read_pixels(tmp_path / "p.jpg")


def test_what_pillow_answers_with_another_error_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As damaged AVIF does with a RuntimeError."""
    Image.fromarray(noise(31, 47, 3)).save(tmp_path / "p.bmp")
    for error in (RuntimeError("no such frame"), KeyError("tag"), ZeroDivisionError()):
        monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", Mock(side_effect=error))
        with pytest.raises(UnreadableImage, match=f"p.bmp: ({re.escape(str(error))}|{type(error).__name__})"):
            read_pixels(tmp_path / "p.bmp")


def test_formats_that_run_programs_are_not_opened(tmp_path: Path) -> None:
    Image.fromarray(noise(31, 47, 3)).save(tmp_path / "drawing.eps")
    (tmp_path / "drawing.eps").rename(tmp_path / "p.jpg")
    with pytest.raises(UnreadableImage, match=r"p\.jpg: it is not an image"):
        read_pixels(tmp_path / "p.jpg")


def test_a_kind_that_is_not_read_is_named_with_those_that_are(tmp_path: Path) -> None:
    Image.fromarray(noise(31, 47, 3)).save(tmp_path / "p.tga")
    (tmp_path / "p.SVG").write_text("<svg/>")
    (tmp_path / "p.txt").write_text("text")
    supported = " of a supported format"
    for name, told in (("p.tga", f"{supported}: JPEG, PNG, "), ("p.SVG", supported), ("p.txt", "\n")):
        with pytest.raises(UnreadableImage, match=f"{name}: it is not an image{told}") as caught:
            read_pixels(tmp_path / name)
        assert caught.value.hint == "Replace the file, or leave it out."


def test_a_webp_that_ends_early_is_called_damaged(tmp_path: Path) -> None:
    Image.fromarray(noise(31, 47, 3)).save(tmp_path / "p.webp")
    content = (tmp_path / "p.webp").read_bytes()
    (tmp_path / "p.webp").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=r"p\.webp: it is damaged or truncated"):
        read_pixels(tmp_path / "p.webp")


@pytest.mark.parametrize("suffix", [".jpx", ".jpf", ".jpc", ".j2c"])
def test_suffixes_of_jpeg_2000_are_those_of_images(suffix: str) -> None:
    assert suffix in SUFFIXES
