"""`brs-detr serve`: a local page and a JSON API for a detector."""

from __future__ import annotations

import importlib
import signal
from contextlib import closing
from pathlib import Path

import click

from brs_detr.cli.options import NumberRange, trust_option
from brs_detr.errors import UserError
from brs_detr.extras import add_extra

_NEEDED = ("starlette", "uvicorn", "python_multipart", "jinja2", "psutil")


@click.command("serve", short_help="Serve a detector as a local page and a JSON API.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all networks.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 for any free one."
)
@click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
@click.option(
    "--threshold",
    type=NumberRange(0, 1),
    help="Initial score threshold. [default: 0.5, or what `brs-detr calibrate` chose for each class]",
)
@click.option("--raw-scores", is_flag=True, help="Use scores as trained, which are not probabilities.")
@click.option(
    "--max-upload-mb", type=NumberRange(0.1, 2000), default=20, show_default=True, help="Maximum size of a request."
)
@click.option(
    "--max-images",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Maximum number of images per request.",
)
@click.option(
    "--max-pixels",
    type=NumberRange(1),
    help="Maximum size of an image. [default: as memory and time allow, at most 5e7]",
)
@click.option("--max-seconds", type=NumberRange(0.1), default=60, show_default=True, help="Time limit of a request.")
@click.option(
    "--max-memory-gb", type=NumberRange(0.1), help="Memory limit of an image. [default: half of the free memory]"
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@trust_option
def command(
    model: Path,
    host: str,
    port: int,
    device: str | None,
    threshold: float | None,
    raw_scores: bool,
    max_upload_mb: float,
    max_images: int,
    max_pixels: float | None,
    max_seconds: float,
    max_memory_gb: float | None,
    open_page: bool,
    trust_file: bool,
) -> None:
    """Serve MODEL as a local web page and a JSON API.

    MODEL is an exported file, a checkpoint or a run folder. Images stay in memory; nothing is written to disk.
    The largest possible image is measured when the server starts.

    \b
    Examples:
      brs-detr serve best.onnx --open
      curl -F file=@street.jpg http://127.0.0.1:8000/api/detect
    """
    _require_packages()
    import webbrowser
    from functools import partial

    from brs_detr.predict.detector import Detector
    from brs_detr.run.console import make_console
    from brs_detr.runtime.images import PIXEL_LIMIT_VARIABLE, most_pixels
    from brs_detr.serve.app import ServedModel, make_app
    from brs_detr.serve.capacity import free_memory, measure_capacity
    from brs_detr.serve.detector_process import DetectorProcess
    from brs_detr.serve.limits import GIGABYTE, MEGABYTE, Limits
    from brs_detr.serve.server import address_of, is_local, listen, local_names, run_until_interrupted

    if max_pixels is not None and max_pixels > most_pixels():
        raise click.BadParameter(
            f"the limit for all images is {most_pixels():,}; the variable {PIXEL_LIMIT_VARIABLE} sets it.",
            param_hint="'--max-pixels'",
        )
    console = make_console()
    with listen(host, port) as listener:
        opened = partial(Detector, model, device, trust_file=trust_file, raw_scores=raw_scores, keep_memory=False)
        with closing(DetectorProcess(opened)) as process:
            capacity = measure_capacity(process)
            memory = max_memory_gb * GIGABYTE if max_memory_gb else free_memory() / 2
            measured = min(Limits.max_pixels, most_pixels(), capacity.most_pixels(memory, max_seconds))
            limits = Limits(
                max_bytes=int(max_upload_mb * MEGABYTE),
                max_images=max_images,
                max_pixels=int(max_pixels or measured),
                seconds=max_seconds,
                max_memory=capacity.base_bytes + memory,
            )
            served = ServedModel(process, model.resolve().name, threshold)
            hosts = local_names(listener, host) if is_local(listener) else None
            app = make_app(served, limits, hosts)
            if hosts is None:
                make_console(stderr=True).print(
                    f"Warning: --host {host} lets every machine that reaches this one use the server, unencrypted."
                )
            url = address_of(listener)
            console.print(f"{served.name} is served at {url} (Ctrl-C to stop)")
            console.print(
                f"Limits: {limits.max_pixels / 1e6:.3g} million pixels per image, {max_seconds:g} seconds per request, "
                f"{memory / GIGABYTE:.1f} GB"
            )
            if open_page:
                webbrowser.open(url)
            ending = run_until_interrupted(app, listener)
    if ending is not None:
        signal.raise_signal(ending)
    console.print("Stopped.")


def _require_packages() -> None:
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise UserError(f"`brs-detr serve` needs the package {name}.", add_extra("serve")) from None
