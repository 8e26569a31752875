from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from planted_graphs import write_planted

from brs_detr.cli import main
from brs_detr.export.latency import Workload, measure_in_process, measure_latency
from brs_detr.export.latency_table import latency_markdown
from brs_detr.training.train import TrainedRun


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


def test_command(tmp_path: Path) -> None:
    write_planted(tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_text("no model")
    arguments = ["--size", "30x40", "--size", "60x50", "--batch", "2", "--repeats", "2", "--out", tmp_path / "r.json"]
    models = [tmp_path / "m.onnx", tmp_path / "bad.onnx"]
    result = CliRunner().invoke(main, ["bench", "inference", *map(str, [*models, *arguments])])
    assert result.exit_code == 0, result.output
    assert "60 x 50" in result.stdout
    assert "bad.onnx, 30 x 40, batch of 2:" in result.stdout
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


def test_command_refusals(tmp_path: Path) -> None:
    model = str(write_planted(tmp_path / "m.onnx"))
    for arguments, message in (
        ([str(tmp_path / "none.onnx")], "does not exist"),
        ([model, "--size", "large"], "is no size"),
        ([model, "--device", "tpu"], "no device called"),
        ([model, "--out", str(tmp_path)], "is a folder"),
        ([], "Missing argument"),
    ):
        result = CliRunner().invoke(main, ["bench", "inference", *arguments])
        assert result.exit_code == 2, result.output
        assert message in result.stderr
