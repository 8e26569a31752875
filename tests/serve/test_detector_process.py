from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from served import TROUBLE, Opener, image_bytes

from brs_detr.errors import UserError
from brs_detr.serve.capacity import measure_capacity
from brs_detr.serve.detector_process import DetectorProcess, Task
from brs_detr.serve.limits import GIGABYTE, Refusal
from brs_detr.serve.uploads import Upload

MEGABYTE = 1_000_000


@contextmanager
def process(kind: str) -> Iterator[DetectorProcess]:
    with closing(DetectorProcess(Opener(kind))) as started:
        yield started


def task(width: int = TROUBLE, height: int = 40) -> Task:
    return Task(Upload("a.png", image_bytes(width, height)), 0.5, 1_000_000)


def still_works(started: DetectorProcess) -> bool:
    return len(started.find(task(13))["objects"]) == 2


def test_what_it_finds() -> None:
    with process("works") as started:
        assert started.info.class_names[0] == "cat"
        entry = started.find(task(60, 40))
        assert (entry["file"], entry["width"], entry["height"]) == ("a.png", 60, 40)
        assert [one["name"] for one in entry["objects"]] == ["cat", "<b>dog"]
        with pytest.raises(Refusal, match="no known format"):
            started.find(Task(Upload("a.png", b"text"), 0.5, 1_000_000))
        assert still_works(started)


def test_an_image_that_takes_too_long_is_stopped() -> None:
    with process("sleeps") as started:
        old = psutil.Process(started._process.pid)
        with pytest.raises(Refusal, match=r"not done in the 0\.5 seconds") as caught:
            started.find(task(), seconds=0.5)
        assert caught.value.status == 503
        assert not old.is_running()
        assert still_works(started)


def test_an_image_that_takes_too_much_memory_is_stopped() -> None:
    with process("grows") as started:
        most = started.memory() + 100 * MEGABYTE
        with pytest.raises(Refusal, match=rf"takes more than {most / GIGABYTE:.1f} GB") as caught:
            started.find(task(), max_bytes=most)
        assert caught.value.status == 422
        assert started.peak_bytes < most + 500 * MEGABYTE
        assert still_works(started)


def test_a_detector_that_dies_is_started_again() -> None:
    with process("dies") as started:
        with pytest.raises(Refusal, match="The detector ended") as caught:
            started.find(task())
        assert caught.value.status == 500
        assert still_works(started)


def test_a_fault_is_told_without_its_inside() -> None:
    with process("fails") as started:
        with pytest.raises(Refusal, match=r"^The detector failed: RuntimeError\.") as caught:
            started.find(task())
        assert caught.value.status == 500
        assert still_works(started)


def test_a_detector_that_cannot_be_opened() -> None:
    with pytest.raises(UserError, match="This is no detector"):
        DetectorProcess(Opener("refuses"))
    with pytest.raises(UserError, match="ended before it could be used"):
        DetectorProcess(Opener("dies at once"))


def test_who_waits_when_it_is_closed_is_told() -> None:
    with process("sleeps") as started:
        told: list[Refusal] = []

        def wait() -> None:
            try:
                started.find(task())
            except Refusal as refusal:
                told.append(refusal)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not started.peak_bytes:
            time.sleep(0.01)
        started.close()
        waiting.join(30)
        assert [refusal.status for refusal in told] == [503]


def test_no_process_is_left_behind() -> None:
    """Not even by a server that was killed while its detector was busy."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from served import Opener
from test_detector_process import task
from brs_detr.serve.detector_process import DetectorProcess
process = DetectorProcess(Opener("sleeps"))
print(process._process.pid, flush=True)
process.find(task())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        left = psutil.Process(int(server.stdout.readline()))
        server.kill()
    psutil.wait_procs([left], timeout=30)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_capacity_of_a_detector_that_takes_memory_by_the_pixel() -> None:
    with process("memory by the pixel") as started:
        capacity = measure_capacity(started)
    assert 80 < capacity.bytes_per_pixel < 200
    assert capacity.most_pixels(1e9, 3600) == pytest.approx(1e9 / capacity.bytes_per_pixel, abs=1)


def test_capacity_of_a_detector_that_takes_time_by_the_pixel() -> None:
    with process("time by the pixel") as started:
        capacity = measure_capacity(started)
    assert capacity.seconds_per_pixel > 0.5e-6
    by_time = (10 / 2 - capacity.seconds) / capacity.seconds_per_pixel
    assert capacity.most_pixels(1e12, 10) == pytest.approx(by_time, abs=1)
    assert capacity.most_pixels(1e12, 1e-3) == 0
