from __future__ import annotations

import json
from pathlib import Path

import pytest
from calibrated_checkpoints import CLASSES, LINES, RAW_THRESHOLD, THRESHOLDS, calibration, write_calibrated
from click.testing import CliRunner, Result
from PIL import Image
from planted_graphs import info, write_planted

from brs_detr.cli import main
from brs_detr.data.synthetic.scene import SHAPE_NAMES
from brs_detr.training.train import TrainedRun


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--device", "cpu"])


def test_folder(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke(trained.best_checkpoint, shapes / "val", "--out", out, "--threshold", 0)
    assert result.exit_code == 0, result.output
    names = [f"00000{number}.jpg" for number in range(1, 5)]
    assert sorted(path.name for path in out.iterdir()) == [*names, "predictions.json"]
    record = json.loads((out / "predictions.json").read_text())
    assert [image["file"] for image in record["images"]] == names
    first = record["images"][0]
    assert (first["height"], first["width"]) == (64, 64)
    assert first["objects"][0].keys() == {"name", "label", "score", "box_xyxy"}
    assert record["class_names"][first["objects"][0]["label"]] == first["objects"][0]["name"]
    with Image.open(out / names[0]) as picture:
        picture.verify()


def test_what_a_folder_holds_besides_and_later_frames_are_named(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    red.save(tmp_path / "in" / "a.GIF", save_all=True, append_images=[blue])
    red.save(tmp_path / "in" / "b.jfif", "JPEG")
    (tmp_path / "in" / "scan.pdf").touch()
    result = invoke(trained.best_checkpoint, tmp_path / "in", "--out", tmp_path / "out", "--no-pictures")
    said = " ".join(result.output.split())
    assert result.exit_code == 0 and "in 2 images" in said
    assert "Skipped, not images by their suffix: 1 (" in said and "scan.pdf)" in said
    assert "Only the first page or frame was used: 1 (a.GIF)" in said


def test_single_image_turned_by_its_exif_data(trained: TrainedRun, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (64, 32), "red").save(tmp_path / "photo.jpg", exif=turned)
    result = invoke(trained.best_checkpoint, tmp_path / "photo.jpg", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (record["images"][0]["height"], record["images"][0]["width"]) == (64, 32)
    with Image.open(tmp_path / "out" / "photo.jpg") as picture:
        assert picture.height > picture.width


def test_what_scores_mean_is_in_the_record(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    planted = write_planted(tmp_path / "m.onnx", info(score_threshold=(0.95, 0.92), calibrated=True))
    call = [planted, tmp_path / "a.png", "--out", tmp_path / "out", "--overwrite"]
    result = invoke(*call)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "No object scores as much as its class needs, 0.920 to 0.950; a lower --threshold" in said
    assert "calibrate" not in said
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (record["score_threshold"], record["calibrated"]) == ({"cat": 0.95, "dog": 0.92}, True)
    assert invoke(*call, "--threshold", 0.2).exit_code == 0
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (record["score_threshold"], len(record["images"][0]["objects"])) == (0.2, 2)
    refused = invoke(*call, "--raw-scores")
    assert refused.exit_code == 2 and "brs-detr export CHECKPOINT --raw-scores" in refused.stderr


def test_raw_scores_and_what_a_checkpoint_without_calibration_is_told(tiny_config: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    known, unknown = (
        write_calibrated(tiny_config, tmp_path / f"{name}.pth", calibrations=calibrations)
        for name, calibrations in (("known", {"query": calibration(LINES)}), ("unknown", None))
    )
    records, said = [], []
    for arguments in ([known], [known, "--raw-scores"], [unknown], [unknown, "--raw-scores"]):
        call = [*arguments[:1], tmp_path / "a.png", *arguments[1:], "--out", tmp_path / "out", "--overwrite"]
        result = invoke(*call)
        assert result.exit_code == 0, result.output
        records.append(json.loads((tmp_path / "out" / "predictions.json").read_text()))
        said.append("brs-detr calibrate" in " ".join(result.output.split()))
    assert said == [False, False, True, False]
    assert [record["calibrated"] for record in records] == [True, False, False, False]
    assert records[0]["score_threshold"] == dict(zip(CLASSES, THRESHOLDS, strict=True))
    assert [record["score_threshold"] for record in records[1:]] == [RAW_THRESHOLD] * 3
    assert records[1]["images"] == records[2]["images"] == records[3]["images"] != records[0]["images"]


def test_earlier_predictions_are_replaced_only_on_demand(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    call = [trained.best_checkpoint, shapes / "val" / "000001.jpg", "--out", tmp_path / "out"]
    assert invoke(*call).exit_code == 0
    refused = invoke(*call)
    assert refused.exit_code == 2
    assert "already holds predictions" in refused.stderr
    assert invoke(*call, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jpg", "none.jpg: there is no such file"),
        ("text.jpg", "text.jpg: it is not an image"),
        ("broken", "cut.jpg"),
        ("empty", "There is no image in"),
    ],
)
def test_nothing_is_written_for_a_bad_source(
    source: str, message: str, trained: TrainedRun, shapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    whole = (shapes / "val" / "000001.jpg").read_bytes()
    (tmp_path / "broken" / "a.jpg").write_bytes(whole)
    (tmp_path / "broken" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    result = invoke(trained.best_checkpoint, tmp_path / source, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def annotations_of(folder: Path, *names: str) -> Path:
    """A COCO file, and images under these names in `images/`."""
    images = [
        {"id": number, "file_name": name, "width": 8, "height": 8} for number, name in enumerate(names, start=101)
    ]
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / "images" / name)
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPE_NAMES)]
    (folder / "all.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return folder / "all.json"


def test_ids_are_those_of_the_whole_path(trained: TrainedRun, tmp_path: Path) -> None:
    file = annotations_of(tmp_path, "1.jpg", "a/1.jpg")
    coco = ("--format", "coco", "--annotations", file, "--threshold", 0, "--no-pictures")
    for source, image_id in (("1.jpg", 101), ("a", 102)):
        result = invoke(trained.best_checkpoint, tmp_path / "images" / source, *coco, "--out", tmp_path / source)
        assert result.exit_code == 0, result.output
        found = json.loads((tmp_path / source / "predictions.coco.json").read_text())
        assert {entry["image_id"] for entry in found} == {image_id}
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "1.jpg").rename(tmp_path / "images" / "b" / "1.jpg")
    result = invoke(trained.best_checkpoint, tmp_path / "images" / "b", *coco, "--out", tmp_path / "b")
    assert result.exit_code == 2 and "The annotations have no image 1.jpg" in result.stderr


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"id": "x"}, ["--format", "coco"], "malformed entry"),
        ({"id": 102}, ["--format", "coco"], "duplicate id"),
        ({}, ["--format", "csv"], "--annotations is only for --format coco"),
    ],
)
def test_annotations_that_cannot_be_used(change: dict, options: list, message: str, tmp_path: Path) -> None:
    file = annotations_of(tmp_path, "1.jpg", "2.jpg")
    dataset = json.loads(file.read_text())
    dataset["images"][0].update(change)
    file.write_text(json.dumps(dataset))
    result = invoke("best.pth", tmp_path / "images", "--annotations", file, *options)
    assert result.exit_code == 2 and message in result.stderr


def test_originals_are_never_replaced(trained: TrainedRun, shapes: Path) -> None:
    folder = shapes / "val"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = invoke(trained.best_checkpoint, folder, "--out", folder)
    assert result.exit_code == 2
    assert "would replace the original" in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
