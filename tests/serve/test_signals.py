"""The server as a program: its output, and its reaction to signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from served import TROUBLE, image_bytes


@pytest.fixture
def planted_server(tmp_path: Path) -> list[str]:
    """A program with the command, in which every process opens a planted detector instead of a file."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import sys, types
sys.path.insert(0, {str(Path(__file__).parent)!r})
from served import Opener

def open_detector(path, *arguments, **options):
    return Opener("sleeps")()

planted = types.ModuleType("brs_detr.predict.detector")
planted.Detector = open_detector
open_detector.__module__, open_detector.__qualname__ = planted.__name__, "Detector"
sys.modules[planted.__name__] = planted
if __name__ == "__main__":
    from brs_detr.cli import run
    run()
""")
    return [sys.executable, str(program), "serve", "runs/best.onnx", "--port", "0"]


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start a server and read its address."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.fullmatch(r"best\.onnx is served at (http://127\.0\.0\.1:\d+) \(Ctrl-C to stop\)\n", said)
            assert found, said
            assert process.stdout.readline().startswith("Limits: 50 million pixels per image, 60 seconds per request, ")
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_the_signal(number: signal.Signals, planted_server: list[str]) -> None:
    with started([*planted_server, "--threshold", "0.2"]) as (process, url):
        with urllib.request.urlopen(f"{url}/api/model", timeout=20) as answer:
            model = json.load(answer)
        assert (model["model"], model["score_threshold"]) == ("best.onnx", 0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert err == ""
    assert process.returncode == (0 if number == signal.SIGINT else -number)
    assert out == ("Stopped.\n" if number == signal.SIGINT else "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_at_the_signal_is_told(number: signal.Signals, planted_server: list[str]) -> None:
    with started(planted_server) as (process, url):
        told: list[tuple[int, dict]] = []

        def ask() -> None:
            try:
                urllib.request.urlopen(f"{url}/api/detect", image_bytes(TROUBLE), timeout=60)
            except urllib.error.HTTPError as error:
                told.append((error.code, json.load(error)))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        time.sleep(1.0)
        process.send_signal(number)
        for client in clients:
            client.join(30)
        process.wait(timeout=20)
    assert [status for status, _ in told] == [503] * 3
    assert {answer["error"]["message"] for _, answer in told} == {"The server is being stopped."}
