"""Latency, throughput and memory of exported detectors and checkpoints, from decoded images to detections.

Every model, size and batch has its own process. Prints percentiles of the latency, the time of the model itself, images
per second and the peak memory of the process, and writes a JSON file to benchmarks/results.

python benchmarks/inference.py model.onnx work_dirs/traffic --size 480x640 800x1333 --batch 1 4
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import brs_detr
from brs_detr.errors import UserError
from brs_detr.exporting.formats import format_of
from brs_detr.run.console import make_console, track
from brs_detr.run.distributed import peak_memory_mb, peak_process_memory_mb
from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.images import ImageLike
from brs_detr.runtime.session import OnnxSession, Outputs, Session
from measuring import results

PERCENTILES = (50, 90, 95, 99)
WARM_CALLS = 2
HEAD = (
    *("model", "format", "head", "precision", "image", "batch"),
    *("p50 ms", "p90 ms", "p99 ms", "model ms", "images/s", "MiB"),
)
NUM_TEXTS = 5  # columns


@dataclass(frozen=True)
class Workload:
    """What to measure.

    Args:
        model: an artefact or a checkpoint.
        device: `cpu`, `cuda`, ...
        size: (h, w) of the decoded images.
        batch_size: images per call.
        repeats: most calls to time.
        seconds: most seconds for all calls; there is at least one.
        num_threads: CPU threads; None lets the library choose.
    """

    model: Path
    device: str
    size: tuple[int, int]
    batch_size: int
    repeats: int = 30
    seconds: float = 20.0
    num_threads: int | None = None


@dataclass(frozen=True)
class Latency:
    """Result of a `Workload`.

    Args:
        model: file name.
        format: file format.
        head, precision: of the artefact.
        device, height, width, batch_size, num_threads: of the workload.
        repeats: number of timed calls.
        latency_ms: percentiles of a call, from decoded images to detections, by name (`p50`, ...).
        model_ms: median time of the model itself, without preparation of the images.
        images_per_s: throughput at the median.
        load_s: time to load the model.
        first_call_s: time of the first call, which may compile.
        peak_memory_bytes: peak memory of the whole process, or of the GPU.
        failure: why there are no numbers, or None.
    """

    model: str
    format: str
    head: str
    precision: str
    device: str
    height: int
    width: int
    batch_size: int
    num_threads: int | None
    repeats: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    model_ms: float | None = None
    images_per_s: float | None = None
    load_s: float | None = None
    first_call_s: float | None = None
    peak_memory_bytes: int | None = None
    failure: str | None = None


class TimedSession:
    """A session that records the time of each run."""

    def __init__(self, session: Session) -> None:
        self.session, self.info = session, session.info
        self.seconds: list[float] = []

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run the session."""
        started = time.perf_counter()
        outputs = self.session.run(images, image_sizes)
        self.seconds.append(time.perf_counter() - started)
        return outputs


def measure_in_process(workload: Workload) -> Latency:
    """Measure in a new process, so that memory and caches are those of one model."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send_latency, args=(workload, sending))
    process.start()
    sending.close()
    try:
        return Latency(**receiving.recv())
    except EOFError:
        process.join()
        return _failed(workload, f"the process ended with exit code {process.exitcode}")
    finally:
        process.join()


def _send_latency(workload: Workload, pipe: Any) -> None:
    try:
        latency = measure_latency(workload)
    except UserError as error:
        latency = _failed(workload, error.message)
    except (RuntimeError, MemoryError) as error:
        latency = _failed(workload, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    pipe.send(asdict(latency))


def _open(workload: Workload) -> tuple[str, Session]:
    if format_of(workload.model) == "onnx":  # not through PyTorch, whose memory would count
        return "onnx", OnnxSession(workload.model, workload.device, workload.num_threads)
    from brs_detr.exporting.sessions import open_session

    return open_session(workload.model, workload.device, workload.num_threads)


def measure_latency(workload: Workload) -> Latency:
    """Measure in this process.

    Raises:
        UserError: the model cannot be opened, or there is no such device.
    """
    from brs_detr.runtime.detector import Detector

    started = time.perf_counter()
    format_name, session = _open(workload)
    load_s = time.perf_counter() - started
    timed = TimedSession(session)
    detector = Detector.of(timed, batch_size=workload.batch_size)
    rng = np.random.default_rng(0)
    images: list[ImageLike] = [rng.integers(0, 256, (*workload.size, 3), np.uint8) for _ in range(workload.batch_size)]
    calls: list[float] = []
    while len(calls) < WARM_CALLS + workload.repeats and sum(calls[WARM_CALLS:]) < workload.seconds:
        started = time.perf_counter()
        detector(images)
        calls.append(time.perf_counter() - started)
    taken = np.array(calls[WARM_CALLS:])
    runs = np.array(timed.seconds).reshape(len(calls), -1).sum(1)[WARM_CALLS:]
    median = float(np.median(taken))
    return Latency(
        **_facts(workload, format_name, session.info),
        repeats=len(taken),
        latency_ms={f"p{share}": 1000 * float(np.percentile(taken, share)) for share in PERCENTILES},
        model_ms=1000 * float(np.median(runs)),
        images_per_s=workload.batch_size / median,
        load_s=load_s,
        first_call_s=calls[0],
        peak_memory_bytes=_peak_memory(workload.device, format_name),
    )


def _peak_memory(device: str, format_name: str) -> int | None:
    """Return the peak memory of the process or the GPU; unknown for onnxruntime on a GPU."""
    if device == "cpu":
        return round(peak_process_memory_mb() * 2**20)
    return None if format_name == "onnx" else round(peak_memory_mb() * 2**20)


def _facts(workload: Workload, format_name: str, info: ArtefactInfo | None) -> dict[str, Any]:
    return {
        "model": workload.model.name,
        "format": format_name,
        "head": info.head if info else "",
        "precision": info.precision if info else "",
        "device": workload.device,
        "height": workload.size[0],
        "width": workload.size[1],
        "batch_size": workload.batch_size,
        "num_threads": workload.num_threads,
    }


def _failed(workload: Workload, reason: str) -> Latency:
    return Latency(**_facts(workload, "", None), failure=reason)


def latency_markdown(records: Iterable[Mapping[str, Any]]) -> str:
    """Make a Markdown table of records, which are `Latency` as dictionaries."""
    return results.markdown(HEAD, [_cells(record) for record in records], NUM_TEXTS)


def _cells(record: Mapping[str, Any]) -> list[str]:
    size = f"{record['height']} x {record['width']}"
    names = [record["model"], record["format"], record["head"], record["precision"], size, str(record["batch_size"])]
    if record["failure"] is not None:
        return [*names, *["-"] * (len(HEAD) - len(names))]
    times = [record["latency_ms"][name] for name in ("p50", "p90", "p99")] + [record["model_ms"]]
    memory = record["peak_memory_bytes"]
    shown = "-" if memory is None else f"{memory / 2**20:.0f}"
    return [*names, *(f"{time:.0f}" for time in times), f"{record['images_per_s']:.2f}", shown]


def main(args: argparse.Namespace) -> None:
    import onnxruntime

    for model in args.models:
        if not model.exists():
            raise UserError(f"{model} does not exist.", "Give artefacts, checkpoints or run folders.")
    console = make_console()
    versions = {"brs_detr": brs_detr.__version__, "onnxruntime": onnxruntime.__version__}
    environment = {**results.describe_environment(results.device(args.device)), **versions}
    out = args.out or results.default_path(environment, "inference")
    results.require_writable(out)
    workloads = [
        Workload(model, args.device, size, batch, args.repeats, args.seconds, args.threads)
        for model in args.models
        for size in args.size
        for batch in args.batch
    ]
    records = [asdict(measure_in_process(workload)) for workload in track(workloads, "models", console)]
    results.write_result(out, environment, records)
    console.print(results.console_table(HEAD, [_cells(record) for record in records], NUM_TEXTS))
    for record in records:
        if record["failure"] is not None:
            size, batch = f"{record['height']} x {record['width']}", record["batch_size"]
            console.print(f"{record['model']}, {size}, batch of {batch}: {record['failure']}")
    console.print(f"Written to {out}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="artefacts, checkpoints or run folders")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--size", type=results.frame_size, nargs="+", default=[(480, 640)], help="HEIGHTxWIDTH of decoded images"
    )
    parser.add_argument("--batch", type=results.positive, nargs="+", default=[1], help="images per call")
    parser.add_argument("--repeats", type=results.positive, default=30, help="most calls to time")
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds for the timed calls")
    parser.add_argument("--threads", type=results.positive, help="CPU threads; by default the library chooses")
    parser.add_argument("--out", type=Path, help="result file")
    return parser


if __name__ == "__main__":
    results.run(make_parser(), main, sys.argv[1:])
