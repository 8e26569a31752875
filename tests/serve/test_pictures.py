from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from served import picture

from brs_detr.serve.pictures import check_picture, decode_picture
from brs_detr.serve.refusal import Refusal
from brs_detr.serve.uploads import Upload


@pytest.mark.parametrize("image_format, order", [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_sixteen_bits_become_eight(image_format: str, order: str) -> None:
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(f"{order}u2")).save(buffer, image_format)
    decoded = np.asarray(decode_picture(Upload("grey", buffer.getvalue()), 100))
    assert (decoded == (grey >> 8)[..., None]).all()


def test_pixels_are_counted_before_they_are_decoded() -> None:
    content = picture(10, 11)
    check_picture(Upload("a.png", content), 110)
    cut = content[:60]  # the header is whole, nothing could be decoded
    with pytest.raises(Refusal, match=r"a.png has more than 0.000109 million pixels \(10 x 11\)") as caught:
        check_picture(Upload("a.png", cut), 109)
    assert caught.value.status == 422


def test_damage_behind_the_header_is_found_when_decoding() -> None:
    for whole in (picture(90, 90), picture(90, 90, "JPEG"), picture(90, 90, "WEBP"), picture(90, 90, "BMP")):
        with pytest.raises(Refusal, match="street cannot be read: ") as caught:
            decode_picture(Upload("street", whole[: len(whole) // 2]), 10_000)
        assert caught.value.status == 422


def test_the_first_picture_of_an_animation() -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for image_format in ("PNG", "WEBP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        red.save(buffer, image_format, save_all=True, append_images=[blue], lossless=True)
        decoded = decode_picture(Upload("x", buffer.getvalue()), 100)
        assert decoded.getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore::Warning:PIL")
@pytest.mark.parametrize("seed", range(6))
def test_any_flipped_bytes_are_refused_or_decoded(seed: int) -> None:
    random = np.random.default_rng(seed)
    for image_format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        whole = bytearray(picture(24, 20, image_format))
        for _ in range(60):
            broken = bytearray(whole)
            for place in random.integers(0, len(broken) if random.random() < 0.5 else 64, 4):
                broken[place] = random.integers(256)
            try:
                decoded = decode_picture(Upload("x", bytes(broken)), 10_000)
            except Refusal as refusal:
                assert refusal.status in (415, 422) and refusal.cure
            else:
                assert decoded.mode == "RGB" and decoded.width * decoded.height <= 10_000
