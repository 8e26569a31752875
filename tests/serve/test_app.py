from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served import CLASSES, SMALL_LIMITS, InThread, PlantedDetector, Served, form, image_bytes, serving

from brs_detr.predict.detector import Detector
from brs_detr.serve.app import ServedModel
from brs_detr.serve.limits import Limits
from brs_detr.serve.uploads import Upload
from brs_detr.training.train import TrainedRun


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving(PlantedDetector()) as served:
        yield served


def test_a_body_that_is_an_image(server: Served) -> None:
    status, answer = server.post(image_bytes(60, 40))
    assert status == 200
    assert answer["model"] == "planted.onnx" and answer["score_threshold"] == 0.5
    assert answer["class_names"] == list(CLASSES)
    (image,) = answer["images"]
    assert {key: image[key] for key in ("file", "width", "height")} == {"file": "image", "width": 60, "height": 40}
    assert [found["name"] for found in image["objects"]] == ["cat", "<b>dog"]
    first = image["objects"][0]
    assert first.keys() == {"name", "label", "score", "box_xyxy"}
    assert first["label"] == 0 and first["score"] == pytest.approx(0.9)
    assert first["box_xyxy"] == pytest.approx([3, 8, 27, 36])


def test_a_form_with_several_images_in_order(server: Served) -> None:
    status, answer = server.post_form(("b é.png", image_bytes(20, 30)), ("a.jpg", image_bytes(50, 10, "JPEG")))
    assert status == 200
    assert [(image["file"], image["width"], image["height"]) for image in answer["images"]] == [
        ("b é.png", 20, 30),
        ("a.jpg", 50, 10),
    ]


@pytest.mark.parametrize(
    "query, num_objects", [("", 2), ("?threshold=0", 4), ("?threshold=0.3", 3), ("?threshold=1", 0)]
)
def test_threshold(query: str, num_objects: int, server: Served) -> None:
    status, answer = server.post(image_bytes(), query=query)
    assert status == 200
    assert len(answer["images"][0]["objects"]) == num_objects


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "MPO"])
def test_formats(image_format: str, server: Served) -> None:
    assert server.post(image_bytes(30, 20, image_format), "application/octet-stream")[0] == 200


def test_the_detector_sees_rgb_upright(server: Served) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    _, answer = server.post(image_bytes(60, 20, "JPEG", exif=turned))
    assert (answer["images"][0]["width"], answer["images"][0]["height"]) == (20, 60)
    assert (server.detector.seen[-1].size, server.detector.seen[-1].mode) == ((20, 60), "RGB")
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        buffer = io.BytesIO()
        Image.new(mode, (9, 7)).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
        assert server.post(buffer.getvalue())[0] == 200, mode
        assert server.detector.seen[-1].mode == "RGB"


def test_model_and_health(server: Served) -> None:
    status, _, text = server.ask("GET", "/api/model")
    assert status == 200
    assert json.loads(text) == {
        "model": "planted.onnx",
        "class_names": list(CLASSES),
        "score_threshold": 0.5,
        "calibrated": False,
        "head": None,
        "precision": None,
    }
    assert server.ask("GET", "/healthz")[::2] == (200, b'{"status":"ok"}')


def test_a_threshold_for_each_class_unless_one_is_asked_for() -> None:
    by_name = dict(zip(CLASSES, (0.95, 0.5, 0.2), strict=True))
    with serving(PlantedDetector(score_threshold=tuple(by_name.values()), calibrated=True)) as served:
        told = json.loads(served.ask("GET", "/api/model")[2])
        assert (told["score_threshold"], told["calibrated"]) == (by_name, True)
        answer = served.post(image_bytes())[1]
        assert (answer["score_threshold"], answer["calibrated"]) == (by_name, True)
        assert [found["name"] for found in answer["images"][0]["objects"]] == list(CLASSES[1:])
        answer = served.post(image_bytes(), query="?threshold=0.7")[1]
        assert answer["score_threshold"] == 0.7
        assert [found["name"] for found in answer["images"][0]["objects"]] == ["cat"]


@pytest.mark.parametrize(
    "method, path, status", [("GET", "/nothing", 404), ("GET", "/api/detect/", 404), ("GET", "/api/detect", 405),
                             ("PUT", "/api/detect", 405), ("POST", "/", 405), ("DELETE", "/api/model", 405)]
)  # fmt: skip
def test_other_addresses_and_methods(method: str, path: str, status: int, server: Served) -> None:
    got, headers, text = server.ask(method, path)
    assert got == status
    assert json.loads(text)["error"].keys() == {"message", "cure"}
    assert ("allow" in headers) == (status == 405)
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_health_answers_while_the_detector_works_on_one_image_at_a_time() -> None:
    detector = PlantedDetector(seconds=0.4)
    with serving(detector, Limits(max_requests=8)) as served:
        answers: list[int] = []
        clients = [threading.Thread(target=lambda: answers.append(served.post(image_bytes())[0])) for _ in range(4)]
        for client in clients:
            client.start()
        while not detector.at_a_time:
            time.sleep(0.01)
        start = time.monotonic()
        assert served.ask("GET", "/healthz")[0] == 200
        assert time.monotonic() - start < 0.3
        for client in clients:
            client.join()
        assert answers == [200] * 4
        assert detector.most_at_a_time == 1


def test_too_many_clients_are_told_to_come_again() -> None:
    limits = Limits(max_requests=1, receive_seconds=0.3)
    with serving(PlantedDetector(seconds=1.5), limits) as served:
        first = threading.Thread(target=served.post, args=[image_bytes()])
        first.start()
        while not served.detector.at_a_time:
            time.sleep(0.01)
        status, headers, text = served.ask("POST", "/api/detect", image_bytes())
        assert status == 503 and "busy" in json.loads(text)["error"]["message"] and "retry-after" in headers
        first.join()
        assert served.post(image_bytes())[0] == 200


def test_a_fault_of_the_detector_is_told_without_its_inside() -> None:
    with serving(PlantedDetector(fault=RuntimeError("secret of /home"))) as served:
        status, answer = served.post(image_bytes())
        assert status == 500
        assert "RuntimeError" in answer["error"]["message"] and "secret" not in json.dumps(answer)
        served.detector.fault = None
        assert served.post(image_bytes())[0] == 200


def test_the_limits_can_be_reached(server: Served) -> None:
    exactly = form(*[(f"{n}.png", image_bytes(100, 100)) for n in range(SMALL_LIMITS.max_images)])
    assert len(exactly) < SMALL_LIMITS.max_bytes
    assert (
        server.ask("POST", "/api/detect", exactly, {"Content-Type": "multipart/form-data; boundary=xBoUnDaRyx"})[0]
        == 200
    )
    whole = image_bytes(100, 100, "BMP")
    padded = whole + bytes(SMALL_LIMITS.max_bytes - len(whole))
    assert server.post(padded)[0] == 200
    assert server.post(padded + b"\0")[0] == 413


def test_who_sends_a_head_alone_takes_nobodys_place() -> None:
    with serving(PlantedDetector(), Limits(max_requests=1, receive_seconds=20)) as served:
        heads = []
        for _ in range(3):
            wire = socket.create_connection(("127.0.0.1", served.port))
            wire.sendall(b"POST /api/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
            heads.append(wire)
        assert served.post(image_bytes())[0] == 200
        for wire in heads:
            wire.close()


def test_of_too_many_connections_that_say_nothing_the_oldest_is_closed() -> None:
    with serving(PlantedDetector(), Limits(receive_seconds=20, max_connections=4)) as served:
        silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(6)]
        for wire in silent[:2]:
            wire.settimeout(10)
            assert wire.recv(1) == b""
        assert served.post(image_bytes())[0] == 200
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert silent[-1].recv(12) == b"HTTP/1.1 200"
        for wire in silent:
            wire.close()


def detect(model: ServedModel, upload: Upload, threshold: float) -> dict[str, Any]:
    """Detect in another thread, because the browser tests leave an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(
            lambda: asyncio.run(model.detect(upload, threshold, Limits(max_pixels=10_000)))[0]
        ).result()


def test_the_same_objects_as_the_detector_finds(trained: TrainedRun, shapes: Path) -> None:
    detector = Detector(trained.best_checkpoint, "cpu")
    buffer = io.BytesIO()
    with Image.open(shapes / "val" / "000001.jpg") as file:
        file.convert("RGB").save(buffer, "PNG")
    upload = Upload("a.png", buffer.getvalue())
    everything = Detector(trained.best_checkpoint, "cpu", 0.0)(Image.open(io.BytesIO(upload.content)))
    middle = float(sorted(everything.scores)[len(everything) // 2])
    model = ServedModel(InThread(detector), "tiny")
    assert model.threshold != 0.0
    for threshold in (0.0, middle, 1.0):
        answer = detect(model, upload, threshold)
        wanted = everything.above(threshold)
        assert len(wanted) or threshold == 1.0
        assert [found["score"] for found in answer["objects"]] == wanted.scores.tolist()
        assert [found["box_xyxy"] for found in answer["objects"]] == wanted.boxes_xyxy.tolist()
        assert [found["label"] for found in answer["objects"]] == wanted.labels.tolist()


def test_the_threshold_is_the_detectors_unless_given() -> None:
    detector = PlantedDetector(score_threshold=0.37)
    assert ServedModel(InThread(detector), "m").threshold == 0.37
    assert ServedModel(InThread(PlantedDetector()), "m", 0.2).threshold == 0.2
    assert ServedModel(InThread(PlantedDetector()), "m", 0.0).threshold == 0.0
    assert detector.score_threshold == 0.0  # the page filters by its own threshold


@pytest.mark.parametrize("threshold, num_objects", [(0.0, 4), (0.3, 3), (0.95, 0)])
def test_a_threshold_below_the_detectors_own(threshold: float, num_objects: int) -> None:
    model = ServedModel(InThread(PlantedDetector(score_threshold=0.5)), "m")
    answer = detect(model, Upload("a", image_bytes()), threshold)
    assert len(answer["objects"]) == num_objects
