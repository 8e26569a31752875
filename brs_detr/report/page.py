"""Self-contained HTML pages in one style, light and dark, for phones and desktops."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brs_detr.files import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL import Image


def write_page(path: str | Path, template: str, **content: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        path: HTML file to write; its folder is created if needed.
        template: name of a file in `templates/` that extends `base.html.j2`.
        content: variables of the template. Text is escaped, `Markup` is not.
    """
    write_whole(Path(path), render_page(template, **content))


def render_page(template: str, **content: Any) -> str:
    """Return the HTML of a page, see `write_page`. A variable missing from `content` is an error."""
    return _environment().get_template(template).render(content)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("brs_detr.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(fraction=_fraction, jpeg=jpeg_uri)
    return environment


def _fraction(number: float | None) -> str:
    """Format with three decimals, or as a dash if there is no value."""
    return "–" if number is None or number != number or number < 0 else f"{number:.3f}"


def jpeg_uri(picture: Image.Image, quality: int = 85) -> str:
    """Encode an image as the ``src`` of an ``img``."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
