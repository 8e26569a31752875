"""Memory and response time of a server under the largest uploads allowed, beside clients that never finish.

    python benchmarks/serve_under_load.py --out benchmarks/results/serve_under_load_cpu.json

The model is the demo's with random weights, which does not resize images. Eight clients alternate between images at the
limit of pixels and at the limit of bytes. Each slow client opens a connection, sends headers or half a body at one byte
per second, and reconnects when it is disconnected.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from rich.progress import Progress

CONFIG = "brs-co-deformable-detr_r18_1xb4-4e_shapes"
NUM_CLIENTS = 8
REST_SECONDS = 5.0
NOISY_SIDE = 2500
"""Side of a noise image whose PNG, with 18.8 MB, is close to the limit of 20 MB."""
HEAD = b"POST /api/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"


class Server:
    """`brs-detr serve` in a process, and the memory of it and its detector."""

    def __init__(self, model: Path, seconds: float) -> None:
        command = [sys.executable, "-m", "brs_detr.cli", "serve", model, "--port", "0", "--max-seconds", seconds]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address, limits = self.process.stdout.readline(), self.process.stdout.readline()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", address)[1])  # type: ignore[index]
        found = re.search(r"([\d.]+) million pixels per image, .* ([\d.]+) GB", limits)
        assert found, limits
        self.max_pixels, self.max_gigabytes = float(found[1]) * 1e6, float(found[2])
        self.samples: list[tuple[float, float]] = []

    def memory(self) -> tuple[float, float]:
        """Return the memory of the server and of its detector in GB."""
        server = psutil.Process(self.process.pid)
        sizes = [0.0]
        for child in server.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                sizes.append(child.memory_info().rss / 1e9)
        return server.memory_info().rss / 1e9, max(sizes)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Record the memory twenty times per second."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                self.samples.append(self.memory())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()

    def send(self, content: bytes) -> int:
        """Upload an image, and return the status of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request("POST", "/api/detect", content)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def largest_images(max_pixels: float) -> list[bytes]:
    """Make an image of a single colour with as many pixels as are allowed, and one of noise with as many bytes."""
    side = int(max_pixels**0.5)
    flat = Image.new("RGB", (side, side), (90, 120, 150))
    noisy_side = min(side, NOISY_SIDE)
    noise = np.random.default_rng(0).integers(0, 255, (noisy_side, noisy_side, 3), dtype=np.uint8)
    images = []
    for image in (flat, Image.fromarray(noise)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        images.append(buffer.getvalue())
    return images


def linger(port: int, ended: threading.Event, number: int) -> None:
    """Be a client that never finishes its request."""
    while not ended.is_set():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
            wire.sendall(HEAD[:20] if number % 2 else HEAD + bytes(500))
            while not ended.wait(1.0):
                wire.sendall(b"x")
        ended.wait(0.2)


@contextlib.contextmanager
def serving(model: Path, seconds: float) -> Iterator[Server]:
    """Run a server."""
    server = Server(model, seconds)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def largest_upload(model: Path, seconds: float) -> dict[str, Any]:
    """Upload the largest images one at a time, and measure peak and remaining memory."""
    with serving(model, seconds) as server:
        before = server.memory()[1]
        rows = []
        for image in largest_images(server.max_pixels):
            server.samples.clear()
            started = time.perf_counter()
            with server.watched():
                status = server.send(image)
            took = time.perf_counter() - started
            time.sleep(REST_SECONDS)
            peak, after = max(detector for _, detector in server.samples), server.memory()[1]
            rows.append({"bytes": len(image), "status": status, "seconds": took, "peak_gb": peak, "after_gb": after})
        return {"max_seconds": seconds, "max_pixels": server.max_pixels, "before_gb": before, "pictures": rows}


def load(model: Path, seconds: float, num_uploads: int, num_slow: int) -> dict[str, Any]:
    """Let all clients upload at once."""
    answers: list[tuple[int, float]] = []
    turns, lock, ended = iter(range(num_uploads)), threading.Lock(), threading.Event()
    with serving(model, seconds) as server, Progress() as progress:
        images = largest_images(server.max_pixels)
        bar = progress.add_task("uploads", total=num_uploads)

        def send_all() -> None:
            while True:
                with lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                started = time.perf_counter()
                status = server.send(images[turn % len(images)])
                answers.append((status, time.perf_counter() - started))
                progress.advance(bar)

        slow = [threading.Thread(target=linger, args=(server.port, ended, number)) for number in range(num_slow)]
        clients = [threading.Thread(target=send_all) for _ in range(NUM_CLIENTS)]
        before = server.memory()
        try:
            with server.watched():
                for thread in (*slow, *clients):
                    thread.start()
                for thread in clients:
                    thread.join()
        finally:
            ended.set()
        for thread in slow:
            thread.join()
        time.sleep(REST_SECONDS)
        after = server.memory()
        waits = [wait for _, wait in answers]
        return {
            "max_seconds": seconds,
            "max_pixels": server.max_pixels,
            "uploads": len(answers),
            "clients": NUM_CLIENTS,
            "slow_connections": num_slow,
            "statuses": dict(sorted(Counter(status for status, _ in answers).items())),
            "wait_seconds": {"median": statistics.median(waits), "most": max(waits)},
            "server_gb": {"before": before[0], "peak": max(one for one, _ in server.samples), "after": after[0]},
            "detector_gb": {"before": before[1], "peak": max(one for _, one in server.samples), "after": after[1]},
        }


def serve_markdown(result: Mapping[str, Any]) -> str:
    """Make the table of memory and waiting times, of the largest images alone and of all clients at once."""
    alone, load = result["largest_upload"], result["load"]
    lines = ["| | memory of the detector before, at most, after | seconds |", "|---|---:|---:|"]
    pixels = {"one image of one colour": alone["max_pixels"], "one of noise": min(alone["max_pixels"], NOISY_SIDE**2)}
    for (name, number), row in zip(pixels.items(), alone["pictures"], strict=True):
        what = f"{name}, {number / 1e6:.3g} million pixels in {row['bytes'] / 1e6:.2g} MB"
        held = f"{alone['before_gb']:.2f}, {row['peak_gb']:.2f}, {row['after_gb']:.2f} GB"
        lines.append(f"| {what} | {held} | {row['seconds']:.1f} |")
    held = ", ".join(f"{load['detector_gb'][when]:.2f}" for when in ("before", "peak", "after"))
    waits = load["wait_seconds"]
    what = (
        f"{load['uploads']} uploads by {load['clients']} clients, beside {load['slow_connections']} that never finish"
    )
    lines.append(f"| {what} | {held} GB | {waits['median']:.1f} (median), {waits['most']:.1f} (most) |")
    answers = ", ".join(f"{number} x {status}" for status, number in load["statuses"].items())
    rest = (
        f"Responses under load: {answers}. The server itself used {load['server_gb']['peak'] * 1000:.0f} MB at most. "
        f"`--max-seconds` was {alone['max_seconds']:g} for the first two rows, {load['max_seconds']:g} for the last, "
        f"which allows {load['max_pixels'] / 1e6:.2g} million pixels here; {result['environment']['device_name']}, "
        f"{result['environment']['num_threads']} threads."
    )
    return "\n".join([*lines, "", rest]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="another model for `brs-detr serve`")
    parser.add_argument("--uploads", type=int, default=500)
    parser.add_argument("--slow", type=int, default=200, help="connections that never finish")
    parser.add_argument("--seconds", type=float, default=60.0, help="--max-seconds for single uploads")
    parser.add_argument("--load-seconds", type=float, default=2.0, help="--max-seconds under load")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import torch

    from measuring.results import describe_environment, random_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        model = options.model or random_checkpoint(CONFIG, Path(folder))
        content = {
            "environment": {**describe_environment(torch.device("cpu")), "load_average": os.getloadavg()[0]},
            "model": options.model.name if options.model else CONFIG,
            "largest_upload": largest_upload(model, options.seconds),
            "load": load(model, options.load_seconds, options.uploads, options.slow),
        }
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
