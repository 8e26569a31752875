"""Weights are read without running code that is stored with them."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Chain:
    """Looks up an attribute before calling it, which a restricted unpickler might not notice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return getattr, (Runs(__import__, "os"), "system")


def evil_files(folder: Path, touched: Path) -> dict[str, Path]:
    """Make files that would create `touched` in different ways."""
    command = f"touch {touched}"
    weights = {"layer.weight": torch.zeros(2)}
    payloads = {
        "system": Runs(os.system, command),
        "eval": Runs(builtins.eval, f"__import__('os').system({command!r})"),
        "exec": Runs(builtins.exec, f"import os; os.system({command!r})"),
        "chain": Chain(touched),
        "nested": Runs(pickle.loads, pickle.dumps(Runs(os.system, command))),
        "objects": np.array([Runs(os.system, command)], dtype=object),
    }
    files = {}
    for name, payload in payloads.items():
        files[name] = folder / f"{name}.pth"
        torch.save({"state_dict": weights, "meta": payload}, files[name])
    files["legacy"] = folder / "legacy.pth"
    torch.save(
        {"state_dict": weights, "meta": payloads["system"]}, files["legacy"], _use_new_zipfile_serialization=False
    )
    files["bare"] = folder / "bare.pth"
    files["bare"].write_bytes(pickle.dumps(payloads["system"]))
    files["text pickle"] = folder / "text.pth"
    files["text pickle"].write_bytes(pickle.dumps(payloads["system"], protocol=0))
    files["tar"] = folder / "tar.pth"
    with tarfile.open(files["tar"], "w") as archive:
        stored = pickle.dumps(payloads["system"])
        entry = tarfile.TarInfo("pickle")
        entry.size = len(stored)
        archive.addfile(entry, io.BytesIO(stored))
    return files


KINDS = ("system", "eval", "exec", "chain", "nested", "objects", "legacy", "bare", "text pickle", "tar")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.fault(
    "Files from elsewhere",
    "a checkpoint that would run code when loaded",
    "refused, with the name of the code; nothing runs",
)
def test_nothing_is_run(tmp_path: Path, kind: str) -> None:
    touched = tmp_path / "touched"
    path = evil_files(tmp_path, touched)[kind]
    with pytest.raises(UserError) as caught:
        load_plain(path)
    assert path.name in str(caught.value)
    assert "is refused" in str(caught.value) or "not a checkpoint" in str(caught.value)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("kind", "name"), [("system", "posix.system"), ("eval", "builtins.eval"), ("bare", "posix.system")]
)
def test_what_would_run_is_named(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"code stored in it would have to run \(.*{name}.*\)"):
        load_plain(evil_files(tmp_path, tmp_path / "touched")[kind])


@pytest.mark.parametrize("kind", ["system", "eval", "exec", "nested", "legacy"])
def test_trusted_it_runs(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The files above do run their code."""
    touched = tmp_path / "touched"
    content = load_plain(evil_files(tmp_path, touched)[kind], trust_file=True)
    assert "layer.weight" in content["state_dict"]
    assert touched.exists()
    assert "Warning: reading" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["bare", "text pickle"])
def test_a_trusted_bare_pickle_runs_once_and_is_read(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touched = tmp_path / "touched"
    assert load_plain(evil_files(tmp_path, touched)[kind], trust_file=True) == 0  # what os.system returns
    assert touched.exists()
    assert "(posix.system)" in capsys.readouterr().err


def test_trusted_code_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"cmissing_package\nThing\n.")
    with pytest.raises(UserError, match=r"asks for: ModuleNotFoundError: No module named 'missing_package'"):
        load_plain(tmp_path / "a.pth", trust_file=True)


def test_plain_values_in_a_protocol_that_pytorch_refuses(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(UserError, match="reads only if it may also run code"):
        load_plain(tmp_path / "a.pth")
    assert load_plain(tmp_path / "a.pth", trust_file=True)["a"].tolist() == [1, 1]


def test_trusting_a_plain_file_warns_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    assert load_plain(tmp_path / "a.pth", trust_file=True)["a"].tolist() == [1, 1]
    assert capsys.readouterr().err == ""


def test_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    name = b"\x1b]0;pwned\x07" + b"x" * 10_000
    (tmp_path / "a.pth").write_bytes(b"\x80\x02cos\n" + name + b"\n.")
    with pytest.raises(UserError, match="would have to run") as caught:
        load_plain(tmp_path / "a.pth")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.pth", b"hello", "a text file"),
        ("empty.pth", b"", "it is empty"),
        ("page.pth", b"<!DOCTYPE html><html></html>", "a web page"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        ("noise.pth", bytes(range(128, 256)) * 20, "not a checkpoint"),
    ],
)
def test_other_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_plain(tmp_path / name)


@pytest.mark.fault("Files from elsewhere", "an archive that would unpack to more than its own size", "refused")
def test_damaged_and_lying_archives(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="ends early or is damaged"):
        load_plain(tmp_path / "cut.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/data/0", bytes(50 << 20))
    with pytest.raises(UserError, match="would unpack to"):
        load_plain(tmp_path / "bomb.pth")


def test_a_packed_pickle_that_is_damaged(tmp_path: Path) -> None:
    """The code is listed as far as the archive can be read."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", os.urandom(2000))
    whole = bytearray(path.read_bytes())
    whole[40:60] = bytes(20)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"a\.pth is damaged"):
        load_plain(path)


def test_commands_refuse_and_trust(trained: TrainedRun, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = torch.load(trained.best_checkpoint, weights_only=False)
    content["meta"]["extra"] = Runs(os.system, f"touch {touched}")
    torch.save(content, tmp_path / "evil.pth")
    for command in (["eval"], ["export", "--out", str(tmp_path / "m.onnx")], ["predict", str(tmp_path / "p.png")]):
        name, *more = command
        arguments = [name, str(tmp_path / "evil.pth"), *more]
        if name == "predict":
            from PIL import Image

            Image.new("RGB", (64, 64)).save(tmp_path / "p.png")
            arguments += ["--out", str(tmp_path / "found"), "--device", "cpu"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        assert "posix.system" in result.stderr
        assert "add --trust-file" in result.stderr
        assert not touched.exists()
    result = CliRunner().invoke(main, [*arguments, "--trust-file"])
    assert result.exit_code == 0, result.output
    assert touched.exists()
