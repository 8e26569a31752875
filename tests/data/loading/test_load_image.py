"""One reader: what the check says of a file, what training loads and what prediction sees."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_kinds import READABLE, UNREADABLE
from mmengine.registry import TRANSFORMS
from PIL import Image
from rich.console import Console

from brs_detr.data.checks.image_check import look_at_images
from brs_detr.data.images import read_header
from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError
from brs_detr.predict.run import PredictOptions, predict, require_readable
from brs_detr.predict.sources import find_sources
from brs_detr.report.crop import load_upright
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.images import TooLargeImage, UnreadableImage, read_file
from brs_detr.serve.limits import Refusal
from brs_detr.serve.uploads import Upload, decode_image

register()
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",))


class Witness:
    """A detector that keeps what it is shown."""

    class_names = ("cat",)
    score_threshold = 0.5
    calibrated = False

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, images: list[np.ndarray]) -> list[Detections]:
        self.seen += images
        return [NOTHING] * len(images)


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def load_image(name: str = "LoadImage", **options: object) -> Any:
    return TRANSFORMS.build(dict(type=name, **options))


def in_training(path: Path) -> np.ndarray:
    """RGB [h, w, 3] of what the first step of a pipeline loads."""
    return load_image().transform({"img_path": str(path)})["img"][..., ::-1]


def in_prediction(path: Path, out: Path) -> np.ndarray:
    detector = Witness()
    sources = find_sources([str(path)], False, out)
    require_readable(sources)
    predict(detector, "witness", sources, PredictOptions(out, pictures=False), Console(quiet=True))
    return detector.seen[0]


def in_serving(path: Path) -> np.ndarray:
    return np.asarray(decode_image(Upload(path.name, path.read_bytes()), 10**9))


def said_by_check(path: Path, size: tuple[int, int] = (1, 1)) -> str | None:
    """The fault that `brs-detr check` finds in a file, without its name; None for none."""
    image = {"id": 1, "file_name": path.name, "width": size[1], "height": size[0]}
    (look,) = look_at_images([image], path.parent, is_thorough=True)
    return None if look.fault is None else look.fault[1].text.partition(f"{path}: ")[2]


@pytest.mark.parametrize("name", READABLE)
def test_all_see_the_same_pixels(tmp_path: Path, name: str) -> None:
    content, expected = READABLE[name]
    path = write(tmp_path, name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = in_training(path)
    assert loaded.dtype == np.uint8 and loaded.ndim == 3
    if expected is not None:
        np.testing.assert_array_equal(loaded, expected)
    np.testing.assert_array_equal(in_prediction(path, tmp_path / "out"), loaded)
    np.testing.assert_array_equal(in_serving(path), loaded)
    np.testing.assert_array_equal(np.asarray(load_upright(path)), loaded)
    assert read_header(path).size == loaded.shape[:2]
    assert said_by_check(path, loaded.shape[:2]) is None


@pytest.mark.parametrize("name", UNREADABLE)
def test_all_refuse_the_same_files_in_the_same_words(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, UNREADABLE[name])
    with pytest.raises(UnreadableImage) as loading:
        in_training(path)
    reason = loading.value.reason
    assert reason and loading.value.message == f"Cannot read the image {path}: {reason}" and loading.value.hint
    assert "bomb" not in str(loading.value)
    assert said_by_check(path) == reason
    with pytest.raises(UnreadableImage) as predicting:
        in_prediction(path, tmp_path / "out")
    assert str(predicting.value) == str(loading.value)
    with pytest.raises(Refusal):
        in_serving(path)


def test_colours_turned_by_jpeg_are_those_of_the_same_picture_unturned(tmp_path: Path) -> None:
    upright = read_file(write(tmp_path, "1.jpg", READABLE["turned-1.jpg"][0]))
    turned = read_file(write(tmp_path, "6.jpg", READABLE["turned-6.jpg"][0]))
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))


def test_the_first_of_several_pages_is_said_to_be_the_first(tmp_path: Path) -> None:
    several = {name for name, (content, _) in READABLE.items() if read_header(write(tmp_path, name, content)).has_more}
    assert several == {"pages.tif", "frames.gif", "frames.png", "frames.webp"}


def test_the_limit_on_pixels_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.png", READABLE["a-png.PNG"][0])  # 714 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # where Pillow's own guard would stand
    monkeypatch.setenv("BRS_DETR_MAX_PIXELS", "713")
    with pytest.raises(TooLargeImage, match="it has 714 pixels, more than 713\n.*Cut .* BRS_DETR_MAX_PIXELS=714"):
        in_training(path)
    monkeypatch.setenv("BRS_DETR_MAX_PIXELS", "714")
    assert in_training(path).shape == (21, 34, 3)
    for odd in ("many", "0", "-5", "1e9"):
        monkeypatch.setenv("BRS_DETR_MAX_PIXELS", odd)
        with pytest.raises(UserError, match=f"BRS_DETR_MAX_PIXELS={odd} is not a number of pixels"):
            in_training(path)


def test_a_config_that_names_the_step_of_mmcv_gets_the_same_pixels() -> None:
    step = load_image("LoadImageFromFile", backend_args=None, imdecode_backend="cv2")
    assert type(step) is type(load_image())
    for odd in (dict(color_type="unchanged"), dict(file_client_args=dict(backend="disk"))):
        with pytest.raises(UserError, match="colours of 8 bits"):
            load_image(**odd)


def test_floats_where_a_pipeline_asks_for_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png", READABLE["a-png.PNG"][0])
    results = load_image(to_float32=True).transform({"img_path": str(path)})
    assert results["img"].dtype == np.float32 and results["img_shape"] == results["ori_shape"] == (21, 34)
    assert load_image(ignore_empty=True).transform({"img_path": str(tmp_path / "gone.png")}) is None
    with pytest.raises(UnreadableImage, match=r"gone\.png: there is no such file"):
        load_image().transform({"img_path": str(tmp_path / "gone.png")})


def test_a_pil_image_is_read_like_a_file(tmp_path: Path) -> None:
    from brs_detr.runtime.images import read_pixels

    for name in ("grey-16-big.tif", "palette-bytes.png", "inks.jpg"):
        path = write(tmp_path, name, READABLE[name][0])
        np.testing.assert_array_equal(read_pixels(Image.open(io.BytesIO(path.read_bytes()))), in_training(path))
    with pytest.raises(ValueError, match="floating-point"):
        read_pixels(Image.new("F", (3, 2)))
