"""A planted detector, a real server on a free port around it, and bytes to send."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from brs_detr.errors import UserError
from brs_detr.runtime.detections import Detections
from brs_detr.serve.app import ServedModel, make_app
from brs_detr.serve.detector_process import LOWEST_SCORE, Task, find_objects
from brs_detr.serve.limits import Limits
from brs_detr.serve.server import ImpatientConnection, listen, local_names

CLASSES = ("cat", "<b>dog", "tea \"cup\" & 'co'")
SMALL_LIMITS = Limits(max_bytes=100_000, max_images=3, max_pixels=10_000, max_requests=2, receive_seconds=1.0)


@dataclass
class PlantedDetector:
    """Finds the same objects in every image, relative to its size; remembers the images."""

    score_threshold: float | tuple[float, ...] = 0.5
    class_names: tuple[str, ...] = CLASSES
    calibrated: bool = False
    seen: list[Image.Image] = field(default_factory=list)
    seconds: float = 0.0
    at_a_time: int = 0
    most_at_a_time: int = 0
    fault: Exception | None = None

    @property
    def info(self) -> SimpleNamespace:
        """What the server uses of an `ArtefactInfo`."""
        threshold, calibrated = self.score_threshold, self.calibrated
        own = dict(class_names=self.class_names, score_threshold=threshold, calibrated=calibrated)
        return SimpleNamespace(**own, head=None, precision=None)

    def __call__(self, image: Image.Image) -> Detections:
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        time.sleep(self.seconds)
        self.at_a_time -= 1
        if self.fault:
            raise self.fault
        self.seen.append(image)
        parts = [[0.05, 0.2, 0.45, 0.9], [0.5, 0.3, 0.9, 0.8], [0.1, 0.1, 0.3, 0.3], [0.6, 0.05, 0.95, 0.25]]
        boxes = np.array(parts, np.float32) * np.array([*image.size, *image.size], np.float32)
        scores = np.array([0.9, 0.6, 0.3, 0.05], np.float32)
        return Detections(boxes, scores, np.array([0, 1, 2, 0]), self.class_names).above(self.score_threshold)


TROUBLE = 61
"""Width of an image that troubles a `Troubled` detector."""


@dataclass
class Opener:
    """Opens a planted detector in any process.

    Args:
        kind: of trouble, see `Troubled`.
    """

    kind: str

    def __call__(self) -> PlantedDetector:
        if self.kind == "refuses":
            raise UserError("This is no detector.", "Give another one.")
        if self.kind == "dies at once":
            os._exit(7)
        return Troubled(kind=self.kind)


@dataclass
class Troubled(PlantedDetector):
    """Fails in different ways on some images."""

    kind: str = ""

    def __call__(self, image: Image.Image) -> Detections:
        if self.kind == "memory by the pixel":
            hoard = np.ones(image.width * image.height * 100, np.uint8)
            time.sleep(0.2)
            del hoard
        elif self.kind == "time by the pixel":
            time.sleep(image.width * image.height * 1e-6)
        elif image.width == TROUBLE:
            if self.kind == "sleeps":
                time.sleep(60)
            elif self.kind == "dies":
                os._exit(7)
            elif self.kind == "grows":
                self.hoard = [np.ones(10_000_000, np.uint8) for _ in range(200) if not time.sleep(0.05)]
            elif self.kind == "fails":
                raise RuntimeError("secret")
        return super().__call__(image)


class InThread:
    """Runs a detector in this process instead of another one."""

    def __init__(self, detector: PlantedDetector) -> None:
        self.info = detector.info
        self._detector = detector
        detector.score_threshold = LOWEST_SCORE

    def find(self, task: Task, seconds: float, max_bytes: float) -> dict[str, Any]:
        return find_objects(self._detector, task)


@dataclass
class Served:
    """A server at a port of this machine."""

    port: int
    detector: PlantedDetector

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers by lower-case name, and body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, body: Any, content_type: str = "image/png", query: str = "") -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the response to an upload."""
        status, _, text = self.ask("POST", f"/api/detect{query}", body, {"Content-Type": content_type})
        return status, json.loads(text)

    def post_form(self, *files: tuple[str | bytes, bytes], query: str = "") -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the response to a form of files."""
        return self.post(form(*files), FORM_TYPE, query)

    def send_raw(self, content: bytes, then_close: bool = False) -> bytes:
        """Send raw bytes and return the whole response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as wire:
            wire.sendall(content)
            if then_close:
                return b""
            answer = b""
            while chunk := wire.recv(65536):
                answer += chunk
            return answer


@contextmanager
def serving(detector: PlantedDetector, limits: Limits = SMALL_LIMITS, local: bool = True) -> Iterator[Served]:
    """Serve in a thread of this process."""
    listener = listen("127.0.0.1", 0)
    connection = type(
        "Connection",
        (ImpatientConnection,),
        {"head_seconds": limits.receive_seconds, "max_connections": limits.max_connections},
    )
    model = ServedModel(InThread(detector), "planted.onnx")
    app = make_app(model, limits, local_names(listener, "127.0.0.1") if local else None)
    quiet = dict(log_level="critical", access_log=False, log_config=None)  # uvicorn's own would close all other logs
    config = uvicorn.Config(app, http=connection, ws="none", lifespan="off", **quiet)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield Served(listener.getsockname()[1], detector)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


BOUNDARY = "xBoUnDaRyx"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(*files: tuple[str | bytes, bytes]) -> bytes:
    """Make a multipart form of files (name, content), without escaping the names."""
    parts = []
    for name, content in files:
        name = name.encode() if isinstance(name, str) else name
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="'.encode() + name + b'"\r\n\r\n'
        parts.append(head + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def image_bytes(width: int = 60, height: int = 40, image_format: str = "PNG", **options: Any) -> bytes:
    """Make an image file of noise, which hardly compresses."""
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, image_format, **options)
    return buffer.getvalue()
