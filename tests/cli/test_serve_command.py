from __future__ import annotations

import functools
import socket
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.serve.capacity import Capacity


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, arguments)])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the command tried to open; the file is always refused."""
    calls: list[tuple] = []

    def begin(open_detector: functools.partial) -> None:
        calls.append((*open_detector.args, open_detector.keywords))
        raise UserError("This is no detector.", "Give another one.")

    monkeypatch.setattr("brs_detr.serve.detector_process.DetectorProcess", begin)
    return calls


def test_a_port_in_use_is_told_before_the_model_is_read(opened: list[tuple]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = invoke("best.onnx", "--port", port)
    assert result.exit_code == 2
    assert f"127.0.0.1:{port} is in use." in result.stderr and "--port" in result.stderr
    assert opened == []


def test_an_unknown_host(opened: list[tuple]) -> None:
    result = invoke("best.onnx", "--host", "no-such-host.invalid")
    assert result.exit_code == 2 and "there is no such host" in result.stderr
    assert opened == []


def test_what_is_opened(opened: list[tuple]) -> None:
    for raw_scores in (False, True):
        result = invoke("runs/best.onnx", "--port", 0, "--device", "cpu", *(["--raw-scores"] if raw_scores else []))
        assert result.exit_code == 2 and "This is no detector." in result.stderr
        options = {"keep_memory": False, "raw_scores": raw_scores, "trust_file": False}
        assert opened.pop() == (Path("runs/best.onnx"), "cpu", options)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart", "jinja2", "psutil"])
def test_a_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it is an error
    result = invoke("best.onnx")
    assert result.exit_code == 2
    assert f"needs the package {package}" in result.stderr and "Add the extra [serve]: `pip" in result.stderr


@pytest.mark.parametrize(
    "option, value",
    [("--port", -1), ("--port", 70000), ("--threshold", 2), ("--threshold", "nan"), ("--max-upload-mb", 0),
     ("--max-upload-mb", "nan"), ("--max-images", 0), ("--max-pixels", 0), ("--max-pixels", "1e12"),
     ("--max-pixels", "nan"), ("--max-seconds", 0), ("--max-memory-gb", 0)],
)  # fmt: skip
def test_options_out_of_range(option: str, value: object, opened: list[tuple]) -> None:
    result = invoke("best.onnx", "--port", 0, option, value)
    assert result.exit_code == 2 and f"Invalid value for '{option}'" in result.stderr
    assert opened == []


def test_more_pixels_than_any_image_may_have(opened: list[tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRS_DETR_MAX_PIXELS", "1000")
    result = invoke("best.onnx", "--port", 0, "--max-pixels", 1001)
    assert result.exit_code == 2 and "BRS_DETR_MAX_PIXELS" in result.stderr and opened == []


@pytest.fixture
def run_instead(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Pretends to open a detector, and records what would run and which page is opened."""
    calls: list[tuple] = []
    facts = dict(class_names=("cat",), score_threshold=0.5, calibrated=False, head=None, precision=None)
    process = types.SimpleNamespace(info=types.SimpleNamespace(**facts), close=lambda: None)
    monkeypatch.setattr("brs_detr.serve.detector_process.DetectorProcess", lambda open_detector: process)
    monkeypatch.setattr("brs_detr.serve.capacity.measure_capacity", lambda process: Capacity(0, 100.0, 0.0, 0.0))
    monkeypatch.setattr("brs_detr.serve.server.run_until_interrupted", lambda app, listener: calls.append((app,)))
    monkeypatch.setattr("webbrowser.open", lambda url: calls.append((url,)))
    return calls


def test_open_page(run_instead: list[tuple]) -> None:
    result = invoke("best.onnx", "--port", 0, "--open")
    assert result.exit_code == 0 and result.stderr == ""
    (url,), (app,) = run_instead
    assert url in result.stdout
    assert "localhost" in app.hosts and "0.0.0.0" not in app.hosts


def test_a_warning_where_others_can_reach_it(run_instead: list[tuple]) -> None:
    result = invoke("best.onnx", "--port", 0, "--host", "0.0.0.0")
    assert result.exit_code == 0
    assert "Warning: --host 0.0.0.0 lets every machine that reaches this one use the server" in result.stderr
    ((app,),) = run_instead
    assert app.hosts is None


def test_the_limit_of_pixels_follows_from_memory_unless_it_is_given(run_instead: list[tuple]) -> None:
    assert "Limits: 20 million pixels per image" in invoke("best.onnx", "--port", 0, "--max-memory-gb", 2).stdout
    result = invoke("best.onnx", "--port", 0, "--max-memory-gb", 2, "--max-pixels", 30e6)
    assert "Limits: 30 million pixels per image, 60 seconds per request, 2.0 GB" in result.stdout
