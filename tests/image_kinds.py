"""Image files of every kind that users have, with the pixels that are right, and files that nothing should read."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 21, 34
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ALPHA = Image.fromarray(RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
GREY16 = RNG.integers(0, 1 << 16, (HEIGHT, WIDTH), dtype=np.uint16)
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert("L")
PALETTE = RGB.quantize(16)
BACK = RGB.transpose(Image.Transpose.ROTATE_180)

UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""By orientation, from what is stored to what is shown."""


def encoded(image: Image.Image, image_format: str, orientation: int | None = None, **options: Any) -> bytes:
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(ALPHA)
    return image


def rgb_of(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def grey(levels: NDArray[Any]) -> Pixels:
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)


def late_orientation(orientation: int) -> bytes:
    """A PNG that asks for a rotation behind its pixels, as exiftool writes it."""
    content = encoded(RGB, "PNG", orientation)
    place = content.index(b"eXIf") - 4
    end = place + 12 + struct.unpack(">I", content[place : place + 4])[0]
    last = content.index(b"IEND") - 4
    return content[:place] + content[end:last] + content[place:end] + content[last:]


def tiff_of_12_bits() -> tuple[bytes, Pixels]:
    levels = GREY16[:4, :8] >> 4
    bits = "".join(f"{level:012b}" for level in levels.ravel())
    data = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    tags = {256: 8, 257: 4, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 4, 279: len(data)}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + fields + bytes(4) + data, grey(levels >> 4)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header alone tells its size."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _turned() -> dict[str, tuple[bytes, Pixels | None]]:
    kinds: dict[str, tuple[bytes, Pixels | None]] = {}
    grey16 = Image.fromarray(GREY16)
    for orientation, upright in UPRIGHT.items():
        name = f"turned-{orientation}"
        kinds |= {
            f"{name}.jpg": (encoded(RGB, "JPEG", orientation), None),
            f"{name}-inks.jpg": (encoded(RGB.convert("CMYK"), "JPEG", orientation), None),
            f"{name}.png": (encoded(RGB, "PNG", orientation), upright(COLOURS)),
            f"{name}-late.png": (late_orientation(orientation), upright(COLOURS)),
            f"{name}-16.png": (encoded(grey16, "PNG", orientation), upright(grey(GREY16 >> 8))),
            f"{name}.webp": (encoded(RGB, "WEBP", orientation, lossless=True), upright(COLOURS)),
            f"{name}.tif": (encoded(RGB, "TIFF", orientation), upright(COLOURS)),
            f"{name}-grey.tif": (encoded(GREY, "TIFF", orientation), upright(rgb_of(GREY))),
            f"{name}-16.tif": (encoded(grey16, "TIFF", orientation), upright(grey(GREY16 >> 8))),
            f"{name}-lzw.tif": (encoded(RGB, "TIFF", orientation, compression="tiff_lzw"), upright(COLOURS)),
        }
    return kinds


def _transparent() -> dict[str, tuple[bytes, Pixels | None]]:
    colours, levels, few = with_alpha(RGB), with_alpha(GREY), with_alpha(RGB).quantize(16)
    return {
        **{f"rgba.{name.lower()}": (encoded(colours, name), COLOURS) for name in ("PNG", "TIFF")},
        **{f"grey-alpha.{name.lower()}": (encoded(levels, name), rgb_of(GREY)) for name in ("PNG", "TIFF")},
        "rgba.webp": (encoded(colours, "WEBP", lossless=True, exact=True), COLOURS),
        "rgba.gif": (encoded(colours, "GIF"), None),
        "palette-alpha.png": (encoded(few, "PNG"), rgb_of(few)),
        "palette-key.png": (encoded(PALETTE, "PNG", transparency=3), rgb_of(PALETTE)),
        "palette-bytes.png": (encoded(PALETTE, "PNG", transparency=bytes(range(16))), rgb_of(PALETTE)),
        "palette-key.gif": (encoded(PALETTE, "GIF", transparency=3), rgb_of(PALETTE)),
        "grey-key.png": (encoded(GREY, "PNG", transparency=3), rgb_of(GREY)),
        "rgb-key.png": (encoded(RGB, "PNG", transparency=(1, 2, 3)), COLOURS),
    }


def _others() -> dict[str, tuple[bytes, Pixels | None]]:
    one = RGB.convert("1")
    several = dict(save_all=True, append_images=[BACK])
    turned_page = dict(save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_90)])
    jpeg, png = encoded(RGB, "JPEG"), encoded(RGB, "PNG")
    return {
        **{f"a.{name}": (jpeg, None) for name in ("jpg", "JPEG", "jfif", "jpe", "png")},  # the content decides
        **{f"a-png.{name}": (png, COLOURS) for name in ("PNG", "jpg", "tif", "gif", "heic")},
        "a.bmp": (encoded(RGB, "BMP"), COLOURS),
        "a.ppm": (encoded(RGB, "PPM"), COLOURS),
        "a.pgm": (encoded(GREY, "PPM"), rgb_of(GREY)),
        "a.pbm": (encoded(one, "PPM"), rgb_of(one)),
        "a.gif": (encoded(PALETTE, "GIF"), rgb_of(PALETTE)),
        "a.jp2": (encoded(RGB, "JPEG2000"), COLOURS),
        "inks.jpg": (encoded(RGB.convert("CMYK"), "JPEG"), None),
        "inks.tif": (encoded(RGB.convert("CMYK"), "TIFF"), None),
        "one-bit.png": (encoded(one, "PNG"), rgb_of(one)),
        "one-bit.tif": (encoded(one, "TIFF", compression="group4"), rgb_of(one)),
        "palette.tif": (encoded(PALETTE, "TIFF"), rgb_of(PALETTE)),
        "grey-16.pgm": (b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + GREY16.astype(">u2").tobytes(), grey(GREY16 >> 8)),
        "grey-16-big.tif": (encoded(Image.fromarray(GREY16.astype(">u2")), "TIFF"), grey(GREY16 >> 8)),
        "grey-12.tif": tiff_of_12_bits(),
        "pages.tif": (encoded(RGB, "TIFF", **turned_page), COLOURS),
        "frames.gif": (encoded(PALETTE, "GIF", **several), rgb_of(PALETTE)),
        "frames.png": (encoded(RGB, "PNG", **several), COLOURS),
        "frames.webp": (encoded(RGB, "WEBP", lossless=True, **several), COLOURS),
        "preview.jpg": (encoded(RGB, "MPO", **several), None),
        "padded.jpg": (jpeg + bytes(3000), None),
        "padded.png": (png + bytes(3000), COLOURS),
        "odd-exif.jpg": (encoded(RGB, "JPEG", exif=b"Exif\0\0nonsense"), None),
        "odd-exif.png": (encoded(RGB, "PNG", exif=b"Exif\0\0nonsense"), COLOURS),
        "orientation-9.jpg": (encoded(RGB, "JPEG", 9), None),
    }


def _rgb16() -> dict[str, tuple[bytes, Pixels | None]]:
    import cv2

    samples = RNG.integers(0, 1 << 16, (HEIGHT, WIDTH, 4), dtype=np.uint16)
    upper = (samples >> 8).astype(np.uint8)[..., 2::-1]
    return {
        "rgb-16.png": (cv2.imencode(".png", samples[..., :3])[1].tobytes(), upper),
        "rgba-16.png": (cv2.imencode(".png", samples)[1].tobytes(), upper),
        "rgb-16.tif": (cv2.imencode(".tif", samples[..., :3])[1].tobytes(), upper),
    }


READABLE: dict[str, tuple[bytes, Pixels | None]] = {**_turned(), **_transparent(), **_others(), **_rgb16()}
"""Content of files, and their RGB pixels where these can be told without decoding them."""
Image.init()
if "AVIF" in Image.SAVE:
    READABLE |= {f"turned-{number}.avif": (encoded(RGB, "AVIF", number), None) for number in (1, 6)}


def _cut() -> dict[str, bytes]:
    whole = {
        **{suffix: READABLE[f"a.{suffix}"][0] for suffix in ("jpg", "bmp", "ppm", "gif", "jp2")},
        **{"png": encoded(RGB, "PNG"), "webp": encoded(RGB, "WEBP"), "tif": encoded(RGB, "TIFF")},
    }
    return {
        f"cut-{share}.{suffix}": content[: len(content) * share // 100]
        for suffix, content in whole.items()
        for share in (90, 50, 10)
    }


UNREADABLE: dict[str, bytes] = {
    **_cut(),
    **{f"empty.{suffix}": b"" for suffix in ("jpg", "png", "tif", "gif")},
    "text.jpg": b"<html>404</html>",
    "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "photo.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "float.tif": encoded(Image.fromarray(COLOURS[..., 0].astype(np.float32)), "TIFF"),
    "32-bit.tif": encoded(Image.fromarray(COLOURS[..., 0].astype(np.int32)), "TIFF"),
    "float.pfm": b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + COLOURS[..., 0].astype(np.float32).tobytes(),
    "drawing.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    "large.png": png_of_size(13_400, 13_400),
    "huge.png": png_of_size(60_000, 60_000),
}
