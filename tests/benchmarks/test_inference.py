from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from inference import Workload, latency_markdown, main, make_parser, measure_in_process, measure_latency
from planted_graphs import write_planted

from brs_detr.training.train import TrainedRun
from measuring.results import run


def test_percentiles_and_throughput_fit_together(tmp_path: Path) -> None:
    model = write_planted(tmp_path / "m.onnx")
    latency = measure_latency(Workload(model, "cpu", (30, 40), 2, repeats=7, num_threads=1))
    assert (latency.repeats, latency.failure) == (7, None)
    times = [latency.latency_ms[name] for name in ("p50", "p90", "p95", "p99")]
    assert times == sorted(times)
    assert latency.images_per_s == pytest.approx(2000 / times[0])
    assert 0 < latency.model_ms <= times[0]
    assert (latency.format, latency.head, latency.height, latency.batch_size) == ("onnx", "query", 30, 2)


def test_a_checkpoint_is_measured_too(trained: TrainedRun) -> None:
    latency = measure_latency(Workload(trained.best_checkpoint, "cpu", (64, 64), 1, repeats=2))
    assert (latency.format, latency.head, latency.failure) == ("pytorch", "query", None)
    assert latency.model_ms > 0


def test_memory_is_that_of_the_process_measured(tmp_path: Path) -> None:
    ballast = np.ones(300 << 20, np.uint8)
    latency = measure_in_process(Workload(write_planted(tmp_path / "m.onnx"), "cpu", (30, 40), 1, repeats=2))
    assert 20 << 20 < latency.peak_memory_bytes < 250 << 20
    assert ballast.all()


def test_a_failure_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("no model")
    latency = measure_in_process(Workload(tmp_path / "bad.onnx", "cpu", (30, 40), 1))
    assert "damaged or not an ONNX model" in latency.failure
    assert latency.images_per_s is None


def call(*arguments: object) -> int | None:
    with pytest.raises(SystemExit) as ended:
        run(make_parser(), main, list(map(str, arguments)))
        sys.exit(0)
    return ended.value.code


def test_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_planted(tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_text("no model")
    arguments = ["--size", "30x40", "60x50", "--batch", "2", "--repeats", "2", "--out", tmp_path / "r.json"]
    assert call(tmp_path / "m.onnx", tmp_path / "bad.onnx", *arguments) == 0
    printed = capsys.readouterr().out
    assert "60 x 50" in printed
    assert "bad.onnx, 30 x 40, batch of 2:" in printed
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["environment"]["device"] == "cpu"
    assert [(r["model"], r["height"], r["failure"] is None) for r in content["records"]] == [
        ("m.onnx", 30, True),
        ("m.onnx", 60, True),
        ("bad.onnx", 30, False),
        ("bad.onnx", 60, False),
    ]
    table = latency_markdown(content["records"])
    assert len(table.splitlines()) == 6
    assert "| bad.onnx |" in table


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(write_planted(tmp_path / "m.onnx"))
    for arguments, message in (
        ([str(tmp_path / "none.onnx")], "does not exist"),
        ([model, "--size", "large"], "is not a size"),
        ([model, "--device", "tpu"], "no device called"),
        ([model, "--out", str(tmp_path)], "is a folder"),
        ([], "required: models"),
    ):
        assert call(*arguments) == 2
        assert message in capsys.readouterr().err
