"""The extras of this package: what each brings, and the command that installs one."""

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
    """What an extra is for, and the modules that it brings."""

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
    "runtime": Extra("run an exported detector", ("onnxruntime",)),
    "export": Extra("export a detector to ONNX", ("onnx", "onnxscript", "onnx_ir")),
    "serve": Extra("brs-detr serve", ("starlette", "uvicorn", "python_multipart", "anyio", "jinja2")),
    "video": Extra("find objects in videos", ("cv2",)),
    "tiles": Extra("find objects in tiles", ("supervision",)),
    "paa": Extra("train PAA", ("sklearn",)),
    "cuda": Extra("faster attention on an NVIDIA GPU", ("deformops",)),
}


def is_installed(module: str) -> bool:
    """Whether Python finds a module. It may still fail to import."""
    return importlib.util.find_spec(module) is not None


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed."""
    return {name: version for name in packages if (version := version_of(name)) is not None}


def extra_of(module: str) -> str | None:
    """Return the first extra that brings a module, given with or without its submodules; None if no extra does."""
    top = module.partition(".")[0]
    return next((name for name, extra in EXTRAS.items() if top in extra.modules), None)


def add_extra(extra: str) -> str:
    """Return the command that adds an extra, from where this package was installed from, as a hint for the user."""
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
    """The clone, wheel or repository that pip installed this package from; None if pip did not note it."""
    try:
        text = importlib.metadata.distribution("brs-detr").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return json.loads(text) if text else None
