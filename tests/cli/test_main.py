from __future__ import annotations

import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from brs_detr.cli import COMMANDS, main
from brs_detr.errors import UserError


def test_help_is_quick() -> None:
    command = [sys.executable, "-m", "brs_detr.cli", "--help"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert all(f"  {name} " in result.stdout for name in COMMANDS)
    assert min(seconds) < 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, io, brs_detr.cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    brs_detr.cli.main(['--help'])\n"
        "print({'torch', 'numpy', 'mmengine', 'mmdet', 'rich', 'PIL'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    own = {"demo", "train", "eval", "predict", "configs"}
    assert name not in own or f"brs-detr {name}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "There is no command 'trian'. Did you mean 'train'?"),
        (["xyzzy"], "Choose one of: calibrate, check, configs, convert, convert-checkpoint, demo"),
        (["--versoin"], "No such option"),
        (["train", "--resum"], "--resume"),
        (["eval"], "Missing argument 'CHECKPOINT'"),
        (["predict", "best.pth", "a.jpg", "--threshold", "3"], "Invalid value for '--threshold'"),
    ],
)
def test_wrong_call(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_user_error_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UserError("This is wrong.", "Do that.")

    monkeypatch.setattr("brs_detr.config.config.list_configs", refuse)
    result = CliRunner().invoke(main, ["configs"])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: This is wrong.\n  Do that.\n")


@pytest.mark.parametrize(
    ("error", "message", "cure"),
    [
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            "This needs the package yaml.",
            "extra [lite]: `pip",
        ),
        (
            ImportError("libxcb.so.1: cannot open shared object file", name="cv2"),
            "OpenCV cannot be loaded: libxcb.so.1: cannot open",
            "opencv-python-headless",
        ),
    ],
)
def test_what_is_not_installed_is_one_message(
    error: ImportError, message: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack() -> None:
        raise error

    monkeypatch.setattr("brs_detr.config.config.list_configs", lack)
    result = CliRunner().invoke(main, ["configs"])
    first, second = result.stderr.splitlines()
    assert result.exit_code == 2
    assert message in first and cure in second


def test_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("brs_detr.config.config.list_configs", stumble)
    result = CliRunner().invoke(main, ["configs"])
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brs_detr.config.config.list_configs", interrupt)
    assert CliRunner().invoke(main, ["configs"]).exit_code == 130


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("brs-detr")
