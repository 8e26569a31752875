"""The page of the server: one HTML file with its style and script inside."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import brs_detr
from brs_detr.runtime.draw import class_colour, ink_on
from brs_detr.serve.limits import Limits

if TYPE_CHECKING:
    from jinja2 import Environment

    from brs_detr.serve.app import ServedModel

_HEADS = {"query": "query head", "roi": "RoI head", "atss": "ATSS head"}
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def render_detect_page(model: ServedModel, limits: Limits) -> str:
    """Render the page as HTML, with names from the model escaped."""
    classes = [
        {"name": name, "colour": _hex(class_colour(label)), "ink": _hex(ink_on(class_colour(label)))}
        for label, name in enumerate(model.info.class_names)
    ]
    num_classes = len(classes)
    facts = [
        _HEADS.get(model.info.head or "", model.info.head),
        model.info.precision,
        f"{num_classes} class{'es' if num_classes != 1 else ''}",
        "scores are probabilities" if model.info.calibrated else None,
    ]
    settings: dict[str, Any] = {
        "model": model.name,
        "threshold": model.threshold,
        "calibrated": model.info.calibrated,
        "classes": classes,
        "maxBytes": limits.max_bytes,
    }
    return (
        _environment()
        .get_template("detect.html.j2")
        .render(
            model=model.name,
            facts=", ".join(filter(None, facts)),
            settings=settings,
            max_megabytes=f"{limits.max_bytes / 1e6:g}",
            version=brs_detr.__version__,
        )
    )


def content_security_policy(page: str) -> str:
    """Return a policy that allows only the script and style inside a page, and requests to its own server."""
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {' '.join(hashes['style'])}",
            f"script-src {' '.join(hashes['script'])}",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


@cache
def _environment() -> Environment:
    """Load the templates of this package and the base page of the reports."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader("brs_detr.serve"), PackageLoader("brs_detr.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
