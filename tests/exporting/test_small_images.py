"""A model without resizing gets small images, which have fewer candidates than it keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_models import build, enliven, write_checkpoint

from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.errors import UserError
from brs_detr.exporting import export as module
from brs_detr.exporting.comparison_images import SMALL_SIZES, THIN_SIZES, small_images, synthetic_images
from brs_detr.exporting.export import Subject, export_checkpoint, staged_session, write
from brs_detr.exporting.formats import ExportOptions
from brs_detr.exporting.parity import require_parity
from brs_detr.exporting.sessions import StagedSession
from brs_detr.predict.detector import Detector as TrainedDetector
from brs_detr.runtime import Detector
from brs_detr.runtime.artefact_info import Preprocessing
from co_detr import query_head

SIZES = (*SMALL_SIZES, (64, 64), (1, 1), (1, 40), (40, 1))
CLASSES = ("a", "b")
CASES = [
    ExportOptions("onnx", "query", preprocess=True),
    ExportOptions("torchscript", "query"),
    ExportOptions("torchscript", "roi"),
    ExportOptions("torchscript", "atss", postprocess=False),
]
SLOW_CASES = [
    ExportOptions("onnx", "roi"),
    ExportOptions("onnx", "atss", preprocess=True),
    ExportOptions("onnx", "query", precision="float16", postprocess=False),
    *(ExportOptions("torch-export", head) for head in ("query", "roi", "atss")),
]


@pytest.fixture(scope="module")
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model whose test pipeline does not resize, and which keeps as many candidates as published models."""
    folder = tmp_path_factory.mktemp("small")
    config = folder / "as_they_are.py"
    text = tiny_config.read_text().replace("scale=(64, 64), keep_ratio=True", "scale_factor=1.0")
    text = text.replace("num_queries=20", "num_queries=300").replace("query=dict(max_per_img=20)", "")
    config.write_text(text.replace(", rpn=dict(nms_pre=100, max_per_img=50))", "rpn=dict(nms_pre=1000))"))
    model = enliven(build(config, len(CLASSES)))
    return read_checkpoint(write_checkpoint(model, config, CLASSES, folder / "best.pth"))


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)],
    ids=lambda options: f"{options.format}-{options.head}-{options.precision}",
)
def case(request: pytest.FixtureRequest, write_once) -> tuple[Subject, StagedSession]:
    subject, path = write_once(request.param)
    return subject, staged_session(path, subject.info)


def test_every_stage_is_that_of_the_model(case) -> None:
    subject, session = case
    images = [*synthetic_images(((90, 60), (160, 130))), *synthetic_images(SIZES)]
    console = Console(quiet=True)
    parity = require_parity(subject.model, subject.exact, session, images, batches=(1, 3), console=console)
    assert parity.agreement.num_detections > 0
    assert parity.num_choices >= 2 * len(images)


@pytest.mark.parametrize("options", CASES[:2], ids=lambda options: options.format)
def test_detections_are_those_of_the_model(options: ExportOptions, write_once, checkpoint: Checkpoint) -> None:
    """Single images, batches and lists; of the query head, whose selection does not depend on rounding."""
    subject, path = write_once(options)
    trained = TrainedDetector(checkpoint.path, "cpu", 0.0)
    detector = Detector.of(staged_session(path, subject.info), 0.0, batch_size=3)
    images = [image.pixels for size in SIZES for image in synthetic_images([size] * 2)]
    for pixels, found in zip(images, detector(images), strict=True):
        expected = trained(pixels)
        assert len(found) == len(expected) <= 300
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        assert found.boxes_xyxy.max(initial=0) <= max(pixels.shape[:2]) + 1e-3


def test_a_file_that_fails_on_small_images_is_not_kept(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are always compared: this file takes 300 queries from every image."""

    def write_with_constant(subject: Subject, path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(query_head, "at_most", lambda limit, size: limit)
            write(subject, path)

    monkeypatch.setattr(module, "write", write_with_constant)
    images = synthetic_images(((160, 130),))
    with pytest.raises(UserError, match="fails on 8 x 8, batch of 1, and was deleted: .*out of range"):
        export_checkpoint(
            checkpoint, tmp_path / "m.ts", ExportOptions("torchscript", "query"), images, console=Console(quiet=True)
        )
    assert list(tmp_path.iterdir()) == []


def test_images_that_the_model_sees_small() -> None:
    def sizes(**settings: object) -> list[tuple[int, ...]]:
        usual = Preprocessing(False, None, None, None, (0.0,) * 3, (1.0,) * 3)
        return [image.pixels.shape[:2] for image in small_images(dataclasses.replace(usual, **settings))]

    assert sizes() == list(SMALL_SIZES)
    assert sizes(short_side=800, long_side=1333) == list(THIN_SIZES)
    assert sizes(short_side=800, long_side=1333, fixed_size=(480, 640)) == []
    assert all(image.is_small for image in synthetic_images(SMALL_SIZES + THIN_SIZES))
    assert not any(image.is_small for image in synthetic_images())
