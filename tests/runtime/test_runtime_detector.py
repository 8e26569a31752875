from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from planted_graphs import BOXES, info, write_planted

from brs_detr.errors import UserError
from brs_detr.runtime import Detections, Detector
from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.score_map import ScoreMap
from brs_detr.runtime.session import OnnxSession, Outputs

BLACK = np.zeros((30, 40, 3), np.uint8)


def red(value: int, size: tuple[int, int] = (30, 40)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = value
    return image


@pytest.mark.parametrize("preprocess", [True, False])
def test_detections_reach_the_threshold_and_are_in_order(tmp_path: Path, preprocess: bool) -> None:
    detector = Detector(write_planted(tmp_path / "m.onnx", info(preprocess=preprocess)), device="cpu")
    found = detector(BLACK)
    assert isinstance(found, Detections)
    assert (detector.score_threshold, found.names) == (0.25, ["dog", "cat"])
    np.testing.assert_allclose(found.boxes_xyxy, BOXES[:2])
    assert len(Detector(tmp_path / "m.onnx", "cpu", score_threshold=0.0)(BLACK)) == 3


@pytest.mark.parametrize("preprocess", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_lists_keep_their_order_whatever_the_batches(tmp_path: Path, preprocess: bool, batch_size: int) -> None:
    write_planted(tmp_path / "m.onnx", info(preprocess=preprocess))
    images = [red(1), red(2), red(3, (20, 20)), red(4), red(5), red(6), red(7, (20, 20))]
    found = Detector(tmp_path / "m.onnx", "cpu", batch_size=batch_size)(images)
    assert [round(float(one.boxes_xyxy[0, 0])) for one in found] == [2, 3, 4, 5, 6, 7, 8]
    assert Detector(tmp_path / "m.onnx", "cpu")([]) == []


@pytest.mark.parametrize("preprocess", [True, False])
def test_a_fixed_batch_is_filled_up(tmp_path: Path, preprocess: bool) -> None:
    detector = Detector(write_planted(tmp_path / "m.onnx", info(preprocess=preprocess, batch_size=3)), "cpu")
    found = detector([red(value) for value in (1, 2, 3, 4)])
    assert [round(float(one.boxes_xyxy[0, 0])) for one in found] == [2, 3, 4, 5]
    assert round(float(detector(red(9)).boxes_xyxy[0, 0])) == 10


def test_candidates_are_processed_beside(tmp_path: Path) -> None:
    scores = np.array([0.3, 0.9, -1.0], np.float32)
    write_planted(tmp_path / "m.onnx", info(postprocess=False), scores)
    found = Detector(tmp_path / "m.onnx", "cpu", 0.0)(BLACK)
    assert found.names == ["cat", "dog"]
    np.testing.assert_allclose(found.scores, [0.9, 0.3])


MAP = ScoreMap.lines([1.0, 0.5], [1.5, -2.0])


def test_scores_are_mapped_beside(tmp_path: Path) -> None:
    """After the selection of the best, and sorted by the mapped scores."""
    described = info(postprocess=False, score_threshold=(0.5, 0.2), calibrated=True)
    settings = dataclasses.replace(described.postprocessing, max_detections=2, score_map=MAP)
    write_planted(tmp_path / "m.onnx", dataclasses.replace(described, postprocessing=settings))
    detector = Detector(tmp_path / "m.onnx", "cpu")
    assert detector.calibrated and detector.score_threshold == (0.5, 0.2)
    found = detector(BLACK)
    assert found.names == ["cat", "dog"]
    np.testing.assert_allclose(found.scores, MAP(np.array([0.3, 0.9], np.float32), np.array([0, 1])), rtol=1e-6)
    assert Detector(tmp_path / "m.onnx", "cpu", {"dog": 0.9})(BLACK).names == ["cat"]
    with pytest.raises(UserError, match="no class 'cow'"):
        Detector(tmp_path / "m.onnx", "cpu", {"cow": 0.9})


def test_places_without_a_detection_are_left_out(tmp_path: Path) -> None:
    write_planted(tmp_path / "m.onnx", scores=np.array([0.9, -1, -1], np.float32))
    assert len(Detector(tmp_path / "m.onnx", "cpu", 0.0)(BLACK)) == 1


def test_path_image_and_array_are_the_same(tmp_path: Path) -> None:
    detector = Detector(write_planted(tmp_path / "m.onnx"), "cpu")
    Image.fromarray(red(17)).save(tmp_path / "p.png")
    for image in (tmp_path / "p.png", str(tmp_path / "p.png"), Image.fromarray(red(17))):
        np.testing.assert_array_equal(detector(image).boxes_xyxy, detector(red(17)).boxes_xyxy)


def test_a_file_is_turned_upright_an_image_is_not(tmp_path: Path) -> None:
    lying = Image.new("RGB", (40, 20))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "p.jpg", exif=exif)
    from brs_detr.runtime.images import read_pixels

    assert read_pixels(tmp_path / "p.jpg").shape == (40, 20, 3)
    with Image.open(tmp_path / "p.jpg") as opened:
        assert read_pixels(opened).shape == (20, 40, 3)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    from brs_detr.runtime.images import read_pixels

    Image.fromarray(np.full((4, 4), 0x1234, np.uint16)).save(tmp_path / "p.png")
    assert read_pixels(tmp_path / "p.png").tolist() == np.full((4, 4, 3), 0x12).tolist()


def test_images_of_a_list_are_read_when_their_turn_comes(tmp_path: Path) -> None:
    """The images of a long list need not fit into memory."""
    write_planted(tmp_path / "m.onnx")
    events: list[str] = []

    class Watched(OnnxSession):
        def run(self, images: np.ndarray, image_sizes: np.ndarray | None) -> Outputs:
            events.append(f"{len(images)} run")
            return super().run(images, image_sizes)

    class Noted(Image.Image):
        def convert(self, *arguments: object, **names: object) -> Image.Image:
            events.append("read")
            return Image.fromarray(BLACK)

    Detector.of(Watched(tmp_path / "m.onnx", "cpu"), batch_size=2)([Noted() for _ in range(5)])
    assert events == ["read", "read", "read", "2 run", "read", "read", "2 run", "1 run"]


def test_a_gpu_that_onnxruntime_cannot_start_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime would warn and use the CPU."""
    write_planted(tmp_path / "m.onnx")
    have = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: have)
    started = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *arguments, **names: started)
    with pytest.raises(UserError, match="cannot use the device cuda:7"):
        Detector(tmp_path / "m.onnx", "cuda:7")
    assert len(Detector(tmp_path / "m.onnx")(BLACK)) == 2  # the default is the GPU only if there is one


def test_wrong_input(tmp_path: Path) -> None:
    detector = Detector(write_planted(tmp_path / "m.onnx"), "cpu")
    for array in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), BLACK[:0]):
        with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\] in RGB"):
            detector(array)
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    for name, reason in (("bad.jpg", "it is not an image"), ("none.jpg", "there is no such file")):
        with pytest.raises(UserError, match=rf"{name}: {reason}"):
            detector(tmp_path / name)


def test_wrong_files(tmp_path: Path) -> None:
    def refuses(name: str, message: str, **arguments: str) -> None:
        with pytest.raises(UserError, match=message):
            Detector(tmp_path / name, **arguments)

    refuses("none.onnx", "There is no file")
    refuses(".", "There is no file")
    (tmp_path / "text.onnx").write_text("hello")
    refuses("text.onnx", "damaged or not an ONNX model")
    whole = write_planted(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    refuses("cut.onnx", "damaged or not an ONNX model")
    write_planted(tmp_path / "foreign.onnx", None)
    refuses("foreign.onnx", "was not written by `brs-detr export`")
    refuses("m.onnx", "There is no device called 'tpu'", device="tpu")
    refuses("m.onnx", "has no device cuda", device="cuda")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no description"),
        ("[]", "no description"),
        ('{"format_version": 1}', "no description"),
        (info().to_json().replace('"format_version": 2', '"format_version": 3'), "Update brs-detr"),
        (info().to_json().replace('"head"', '"neck"'), "no description"),
    ],
)
def test_wrong_descriptions(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        ArtefactInfo.from_json(text, "m.onnx")
    assert message in str(caught.value)
    assert "m.onnx" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        ('"knots": [[0.0, 1.0], [0.0, 1.0]]', '"knots": [[0.0, 1.0]]'),
        ('"knots": [[0.0, 1.0], [0.0, 1.0]]', '"knots": [[1.0, 0.0], [0.0, 1.0]]'),
        ('"knots": [[0.0, 1.0], [0.0, 1.0]]', f'"knots": [[0.0, 1{"0" * 400}], [0.0, 1.0]]'),
        ('"knots"', '"nots"'),
        ('"score_threshold": [0.5, 0.2]', '"score_threshold": [0.5]'),
        ('"score_threshold": [0.5, 0.2]', '"score_threshold": [0.5, NaN]'),
        ('"class_names": ["cat", "dog"]', '"class_names": ["cat"]'),
    ],
)
def test_a_damaged_map_or_threshold(text: str, damaged: str) -> None:
    described = info(score_threshold=(0.5, 0.2))
    settings = dataclasses.replace(described.postprocessing, score_map=MAP)
    whole = dataclasses.replace(described, postprocessing=settings).to_json()
    assert ArtefactInfo.from_json(whole, "m.onnx").postprocessing.score_map == MAP
    assert whole.count(text) == 1
    with pytest.raises(UserError, match="m.onnx holds no description that brs-detr can read"):
        ArtefactInfo.from_json(whole.replace(text, damaged), "m.onnx")


def test_a_description_of_the_first_format() -> None:
    """It had neither probabilities nor thresholds per class."""
    stored = json.loads(info().to_json())
    del stored["calibrated"], stored["postprocessing"]["score_map"]
    assert ArtefactInfo.from_json(json.dumps({**stored, "format_version": 1}), "m.onnx") == info()


def test_a_description_survives() -> None:
    described = info(batch_size=3, versions={"torch": "2"}, parity={"matched": 5})
    assert ArtefactInfo.from_json(described.to_json(), "m.onnx") == described
