from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import main
from brs_detr.errors import UserError

WITH_A_PLANTED_DETECTOR = f"""
import sys, types
sys.path.insert(0, {str(Path(__file__).parents[1] / "serve")!r})
from served import PlantedDetector
planted = types.ModuleType("brs_detr.export.open_detector")
planted.open_detector = lambda *arguments: PlantedDetector()
sys.modules[planted.__name__] = planted
from brs_detr.cli import run
run()
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, arguments)])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the command asked to be opened; the file is never good enough."""
    calls: list[tuple] = []

    def open_detector(*arguments: object) -> None:
        calls.append(arguments)
        raise UserError("This is no detector.", "Give another one.")

    module = types.ModuleType("brs_detr.export.open_detector")
    module.open_detector = open_detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_the_signal(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-c",
        WITH_A_PLANTED_DETECTOR,
        "serve",
        "runs/best.onnx",
        "--port",
        "0",
        "--threshold",
        "0.2",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.fullmatch(r"best\.onnx is served at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", said)
            assert found, said
            with urllib.request.urlopen(f"{found[1]}/api/model", timeout=20) as answer:
                model = json.load(answer)
            assert (model["model"], model["score_threshold"]) == ("best.onnx", 0.2)
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "Traceback" not in err and err == ""
    assert process.returncode == (0 if number == signal.SIGINT else -number)
    assert out == ("Ended.\n" if number == signal.SIGINT else "")


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
    result = invoke("runs/best.onnx", "--port", 0, "--device", "cpu")
    assert result.exit_code == 2 and "This is no detector." in result.stderr
    assert opened == [(Path("runs/best.onnx"), "cpu", None, False)]


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart", "jinja2"])
def test_a_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it is an error
    result = invoke("best.onnx")
    assert result.exit_code == 2
    assert f"needs the package {package}" in result.stderr and "Add the extra [serve]: `pip" in result.stderr


@pytest.mark.parametrize(
    "option, value",
    [("--port", -1), ("--port", 70000), ("--threshold", 2), ("--threshold", "nan"), ("--max-upload-mb", 0),
     ("--max-upload-mb", "nan"), ("--max-images", 0), ("--max-pixels", 0), ("--max-pixels", "1e12"),
     ("--max-pixels", "nan")],
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
    """Opens a planted detector, and remembers what would be run and which page is opened."""
    calls: list[tuple] = []
    module = types.ModuleType("brs_detr.export.open_detector")
    detector = types.SimpleNamespace(class_names=("cat",), score_threshold=0.5)
    module.open_detector = lambda *arguments: detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
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
    assert "Warning: --host 0.0.0.0 lets every machine that reaches this one use it" in result.stderr
    ((app,),) = run_instead
    assert app.hosts is None
