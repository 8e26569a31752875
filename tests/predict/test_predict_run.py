from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from planted_detector import PlantedDetector
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.predict.run import PredictOptions, choose_labels, predict, require_room
from brs_detr.predict.sources import Source, find_sources


def run(out: Path, console: Console, *texts: object, recursive: bool = False, **options):
    detector = PlantedDetector()
    sources = find_sources([str(text) for text in texts], recursive, out.parent / "downloads")
    return predict(detector, "m.onnx", sources, PredictOptions(out, **options), console), detector


def record(out: Path) -> dict:
    return json.loads((out / "predictions.json").read_text())


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_format(photos: Path, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    result, _ = run(out, console, photos, recursive=True, formats=("csv", "coco", "yolo"), crops=True)
    assert (result.num_frames, result.num_objects) == (3, 6)
    assert files(out) == [
        *("a.jpg", "b.png"),
        *(f"crops/{name}_{n}.jpg" for name, n in (("a_dog/a", 2), ("a_dog/b", 2), ("a_dog/more_a", 2))),
        *(f"crops/{name}_{n}.jpg" for name, n in (("cat/a", 1), ("cat/b", 1), ("cat/more_a", 1))),
        *("labels/a.txt", "labels/b.txt", "labels/classes.txt", "labels/more/a.txt", "more/a.jpg"),
        *("predictions.coco.json", "predictions.csv", "predictions.json"),
    ]
    written = record(out)
    assert [image["file"] for image in written["images"]] == ["a.jpg", "b.png", "more/a.jpg"]
    assert (written["checkpoint"], written["score_threshold"], written["calibrated"]) == ("m.onnx", 0.2, False)
    assert written["images"][0] | {"objects": []} == {"file": "a.jpg", "height": 60, "width": 80, "objects": []}
    cat = written["images"][0]["objects"][0]
    assert cat == {"name": "cat", "label": 0, "score": pytest.approx(0.9), "box_xyxy": [10, 20, 30, 50]}
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert len(rows) == 6
    assert (rows[1]["name"], rows[1]["x2"], rows[1]["frame"]) == ("a/dog", "8.0", "")
    coco = json.loads((out / "predictions.coco.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in coco[:3]] == [(1, 1), (1, 2), (2, 1)]
    assert coco[0]["bbox"] == [10, 20, 20, 30]
    label = (out / "labels" / "a.txt").read_text().splitlines()[0].split()
    assert [float(number) for number in label] == pytest.approx([0, 20 / 80, 35 / 60, 20 / 80, 30 / 60, 0.9], abs=1e-6)
    with Image.open(out / "crops" / "cat" / "a_1.jpg") as crop:
        assert crop.size == (20, 30)


def test_coco_ids_come_from_annotations(photos: Path, tmp_path: Path, console: Console) -> None:
    annotations = {
        "images": [{"id": 70, "file_name": "train/a.jpg"}, {"id": 80, "file_name": "b.png"}],
        "categories": [{"id": 5, "name": "a/dog"}, {"id": 9, "name": "cat"}],
    }
    out = tmp_path / "out"
    run(out, console, photos, formats=("coco",), annotations=annotations)
    coco = json.loads((out / "predictions.coco.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in coco] == [(70, 9), (70, 5), (80, 9), (80, 5)]
    del annotations["images"][0]
    with pytest.raises(UserError, match=r"have no image a\.jpg"):
        run(tmp_path / "other", console, photos, formats=("coco",), annotations=annotations, pictures=False)
    assert files(tmp_path / "other") == []
    del annotations["categories"][0]
    with pytest.raises(UserError, match="have no class a/dog"):
        run(tmp_path / "other", console, photos, formats=("coco",), annotations=annotations)
    assert files(tmp_path / "other") == []


def test_no_file_replaces_another(photos: Path, video: Path, tmp_path: Path, console: Console) -> None:
    class Twins(PlantedDetector):
        class_names = ("a/dog", "a dog")

    for name in ("classes.jpg", "a.png"):
        shutil.copy(photos / "a.jpg", photos / name)
    shutil.copy(video, video.with_suffix(".avi"))
    out = tmp_path / "out"
    sources = find_sources([str(photos), str(video), str(video.with_suffix(".avi"))], False, tmp_path)
    predict(Twins(), "m", sources, PredictOptions(out, formats=("yolo",), crops=True, most_frames=2), console)
    written = files(out)
    labels = [
        "a",
        "a.png",
        "b",
        "classes",
        "classes.jpg",
        *(f"clip{end}_00000{n}" for end in ("", ".avi") for n in (0, 1)),
    ]
    assert [name for name in written if name.startswith("labels")] == sorted(f"labels/{name}.txt" for name in labels)
    assert (out / "labels" / "classes.txt").read_text() == "a/dog\na dog\n"
    assert [name for name in written if name.endswith(".mp4")] == ["clip.avi_found.mp4", "clip.mp4_found.mp4"]
    assert {name.split("/")[1] for name in written if name.startswith("crops")} == {"a_dog", "a_dog_1"}
    require_room([], out, overwrite=True)
    assert files(out) == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "9" * 5000,
        '{"images": [{"file": "a\\u0000b"}, {"file": "\\ud800"}, {"file": "' + "a" * 5000 + '"}]}',
        '{"images": [{"file": "../kept.jpg"}, 1]}',
        '{"images": [{"file": "../kept.jpg"}]}',
    ],
)
def test_what_an_odd_record_names_is_not_deleted(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "kept.jpg").write_text("kept")
    (tmp_path / "out" / "predictions.json").write_text(text)
    require_room([], tmp_path / "out", overwrite=True)
    assert files(tmp_path / "out") == [] and (tmp_path / "kept.jpg").exists()


def test_the_results_need_a_folder(photos: Path) -> None:
    with pytest.raises(UserError, match=r"a.jpg is a file, not a folder"):
        require_room([], photos / "a.jpg", overwrite=True)


def test_two_images_that_would_be_drawn_as_one_are_refused(photos: Path, tmp_path: Path) -> None:
    sources = [Source(name, photos / name) for name in ("a.tif", "a.tif.png")]
    with pytest.raises(UserError, match=r"a.tif and a.tif.png would both be drawn as a.tif.png"):
        require_room(sources, tmp_path / "out", overwrite=False)
    require_room(sources, tmp_path / "out", overwrite=False, pictures=False)


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1, 1, 1]), (2, [2, 1]), (5, [3])])
def test_batches(photos: Path, tmp_path: Path, console: Console, batch_size: int, batches: list[int]) -> None:
    _, detector = run(tmp_path / "out", console, photos, recursive=True, batch_size=batch_size)
    assert detector.batches == batches


def test_only_some_classes(photos: Path, tmp_path: Path, console: Console) -> None:
    result, _ = run(tmp_path / "out", console, photos, classes="cat", pictures=False)
    assert result.num_objects == 2
    assert files(tmp_path / "out") == ["predictions.json"]
    with pytest.raises(UserError, match=r"no class 'cats'.\s+Did you mean 'cat'"):
        run(tmp_path / "other", console, photos, classes="cats")


def test_what_cannot_be_decoded_is_told_and_left_out(photos: Path, tmp_path: Path, console: Console) -> None:
    (photos / "c.jpg").write_bytes((photos / "a.jpg").read_bytes()[:400])
    result, _ = run(tmp_path / "out", console, photos)
    assert result.num_frames == 2
    assert len(result.unreadable) == 1
    assert "c.jpg" in result.unreadable[0]
    with pytest.raises(UserError, match=r"No image could be decoded: .*c\.jpg"):
        run(tmp_path / "other", console, photos / "c.jpg")
    assert files(tmp_path / "other") == []


def test_a_video_becomes_a_video(video: Path, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    result, _ = run(out, console, video, batch_size=3, formats=("csv",))
    assert result.num_frames == 10
    assert files(out) == ["clip_found.mp4", "predictions.csv", "predictions.json"]
    written = record(out)["images"]
    assert [entry["frame"] for entry in written] == list(range(10))
    assert written[3]["seconds"] == pytest.approx(0.6)
    drawn = cv2.VideoCapture(str(out / "clip_found.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    _, first = drawn.read()
    assert first.shape == (48, 64, 3)
    assert np.abs(first.astype(int)).max() > 60, "boxes are drawn on the black frame"


def test_some_frames_of_a_video(video: Path, tmp_path: Path, console: Console) -> None:
    run(tmp_path / "out", console, video, every=3, most_frames=3)
    assert [entry["frame"] for entry in record(tmp_path / "out")["images"]] == [0, 3, 6]


def test_videos_that_are_none(tmp_path: Path, console: Console) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    for text, message in (
        (tmp_path / "bad.mp4", "not a video that can be decoded"),
        (tmp_path / "none.mp4", "There is no file"),
        ("webcam:7", "There is no camera number 7"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path / "out", console, text)
        assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_no_results(photos: Path, video: Path, tmp_path: Path, console: Console) -> None:
    class Failing(PlantedDetector):
        def find(self, image):
            if len(self.batches) == 3:
                raise RuntimeError("out of memory")
            return super().find(image)

    sources = find_sources([str(photos), str(video)], False, tmp_path)
    options = PredictOptions(tmp_path / "out", formats=("csv", "coco", "yolo"))
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(Failing(), "m", sources, options, console)
    assert files(tmp_path / "out") == ["a.jpg", "b.png", "labels/a.txt", "labels/b.txt"]


def test_ctrl_c_keeps_what_was_found(video: Path, tmp_path: Path, console: Console) -> None:
    class Interrupted(PlantedDetector):
        def find(self, image):
            if len(self.batches) == 4:
                raise KeyboardInterrupt
            return super().find(image)

    sources = find_sources([str(video)], False, tmp_path)
    result = predict(Interrupted(), "m", sources, PredictOptions(tmp_path / "out"), console)
    assert result.num_frames == 3
    assert len(record(tmp_path / "out")["images"]) == 3


def test_overwriting_deletes_what_an_earlier_run_wrote(photos: Path, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    run(out, console, photos, formats=("csv", "yolo"), crops=True)
    (out / "mine.txt").write_text("not of a run")
    only_b = [Source("b.png", photos / "b.png")]
    with pytest.raises(UserError, match="already holds predictions"):
        require_room(only_b, out, overwrite=False)
    require_room(only_b, out, overwrite=True)
    assert files(out) == ["mine.txt"]


def test_a_forged_record_deletes_nothing_elsewhere(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious.jpg").write_text("precious")
    forged = {"images": [{"file": "../precious.jpg"}, {"file": str(tmp_path / "precious.jpg")}]}
    (out / "predictions.json").write_text(json.dumps(forged))
    require_room([Source("b.png", photos / "b.png")], out, overwrite=True)
    assert (tmp_path / "precious.jpg").exists()
    assert files(out) == []


NAMES = ("car", "bus", "x", "a, b", "y ", "a", "c, d, e", "c")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("car,bus", [0, 1]),
        (" bus , car", [0, 1]),
        ("a, b", [3]),
        ("car,a, b,x", [0, 2, 3]),
        ('"a, b",a', [3, 5]),
        ("c, d, e,y", [4, 6]),
        ("y ,c", [4, 7]),
        ("car,", [0]),
        ("car,,bus", [0, 1]),
    ],
)
def test_names_may_hold_commas(text: str, labels: list[int]) -> None:
    assert choose_labels(text, NAMES) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("car,cart", r"no class 'cart'.\s+Did you mean 'car'"),
        ("", "--classes '' names no class"),
        (" ,", "--classes ' ,' names no class"),
        ("d, e", "no class 'd'"),
    ],
)
def test_unknown_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_labels(text, NAMES)


def test_two_readings_are_refused_and_quotation_marks_choose() -> None:
    names = ("a", "b", "a, b", "twin", "twin")
    with pytest.raises(UserError, match="may mean 'a' and 'b', or 'a, b'"):
        choose_labels("a, b", names)
    assert choose_labels('"a, b"', names) == [2]
    assert choose_labels("a,b", names) == [0, 1]
    assert choose_labels("twin", names) == [3, 4]
