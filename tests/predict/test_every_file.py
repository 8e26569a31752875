"""`Detector` opens every file with a model, with the same arguments and results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from calibrated_checkpoints import CLASSES, LINES, THRESHOLDS, calibration, write_calibrated

import brs_detr
from brs_detr import Detector
from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.checkpoints.plain_file import write_safetensors
from brs_detr.errors import UserError
from brs_detr.exporting.comparison_images import synthetic_images
from brs_detr.exporting.export import export_checkpoint
from brs_detr.exporting.formats import ExportOptions, artefact_name
from brs_detr.exporting.parity import Tolerance, compare

SAME = Tolerance(box=0.01, score=1e-4)
HEAD = "atss"
EXPORTED = {
    "onnx": ExportOptions("onnx", HEAD, preprocess=True),
    "torch-export": ExportOptions("torch-export", HEAD, fixed_size=(64, 64), batch_size=1),
    "torchscript": ExportOptions("torchscript", HEAD),
    "aoti": ExportOptions("aoti", HEAD, fixed_size=(64, 64), batch_size=1),
}
CHECKPOINTS = ("run folder", "checkpoint", "safetensors")
KINDS = [*CHECKPOINTS, *(pytest.param(kind, marks=pytest.mark.slow) if kind == "aoti" else kind for kind in EXPORTED)]


@pytest.fixture(scope="module")
def run(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a calibrated checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    write_calibrated(tiny_config, folder / "checkpoints" / "best.pth", HEAD, {HEAD: calibration(LINES)})
    return folder


@pytest.fixture(scope="module")
def file_of(run: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return the same model in a file of each kind; raw scores are exported separately."""
    folder, content = tmp_path_factory.mktemp("files"), read_checkpoint(run)

    def made(kind: str) -> Path:
        if kind == "run folder":
            return run
        if kind == "checkpoint":
            return content.path
        path = folder / kind / ("m.safetensors" if kind == "safetensors" else artefact_name(EXPORTED[kind]))
        if not path.exists():
            path.parent.mkdir()
            if kind == "safetensors":
                write_safetensors(path, content.state_dict, content.meta)
            else:
                export_checkpoint(content, path, EXPORTED[kind], synthetic_images(((64, 64),)))
        return path

    return made


@pytest.fixture(scope="module")
def images(shapes: Path) -> list[Path]:
    return sorted((shapes / "val").glob("*.jpg"))[:3]


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_finds_the_same(kind: str, file_of, run: Path, images: list[Path]) -> None:
    expected = Detector(run, "cpu", 0.0)
    detector = Detector(file_of(kind), device="cpu", score_threshold=0.0, batch_size=2, trust_file=False)
    assert detector.class_names == expected.class_names == CLASSES
    assert detector.calibrated
    found = detector(images)
    for image, one in zip(images, found, strict=True):
        agreement = compare(expected(image), one, SAME)
        assert agreement.num_detections == agreement.num_matched > 3 and agreement.num_unmatched == 0
        np.testing.assert_array_equal(detector(image).labels, one.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_takes_the_same_thresholds(kind: str, file_of) -> None:
    path = file_of(kind)
    assert Detector(path, "cpu").score_threshold == THRESHOLDS
    assert Detector(str(path), "cpu", 0.3).score_threshold == 0.3
    assert Detector(path, "cpu", {CLASSES[0]: 0.9}).score_threshold == (0.9, *THRESHOLDS[1:])
    with pytest.raises(UserError, match="no class 'cow'"):
        Detector(path, "cpu", {"cow": 0.9})


@pytest.mark.parametrize("kind", KINDS)
def test_raw_scores_of_every_file(kind: str, file_of) -> None:
    """A file without raw scores says so."""
    if kind in CHECKPOINTS:
        assert not Detector(file_of(kind), "cpu", raw_scores=True).calibrated
    else:
        with pytest.raises(UserError, match="has no raw scores"):
            Detector(file_of(kind), "cpu", raw_scores=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_is_not_there(kind: str, file_of) -> None:
    with pytest.raises(UserError, match="no device"):
        Detector(file_of(kind), "tpu")


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", "model.ts", "model.safetensors", "best.pth", "run"])
def test_files_that_are_not_there_or_damaged(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=name):
        Detector(tmp_path / name)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=name):
        Detector(tmp_path / name)


def test_a_copy_without_its_folder(file_of, tmp_path: Path, images: list[Path]) -> None:
    """The file contains everything."""
    for kind in ("checkpoint", "safetensors", "onnx"):
        path = shutil.copy(file_of(kind), tmp_path)
        assert len(Detector(path, "cpu", 0.0)(images[0])) > 3


def test_check(shapes: Path) -> None:
    assert set(brs_detr.check(shapes).splits) >= {"train", "val"}
    with pytest.raises(UserError):
        brs_detr.check(shapes / "none")
