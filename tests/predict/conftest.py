from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tiny_runs import one_thread, shapes, tiny_config, tiny_plain_config, trained  # noqa: F401


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.jpg, b.png and, deeper, more/a.jpg: 60 x 80 pixels in different reds."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for place, name in enumerate(("a.jpg", "b.png", "more/a.jpg")):
        Image.new("RGB", (80, 60), (60 * place, 0, 0)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """10 frames of 64 x 48 pixels at 5 frames per second, each greener than the last."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (0, 20 * number, 0), np.uint8))
    writer.release()
    return path
