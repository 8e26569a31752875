"""The common style of all plots, and their conversion to inline SVG."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from brs_detr.printable import LONGEST_NAME, short_name
from brs_detr.runtime.draw import class_colour

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#282c34"
GRID = "#e4e6ea"


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure, with its size in inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Set titles and labels, a light grid, and no frame except the base line."""
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)


def colour_of(label: int) -> str:
    """Return the colour of a class in hexadecimal, for matplotlib and CSS."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(label))


def drawn_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Escape a name for matplotlib, which reads text between dollar signs as a formula."""
    return short_name(name, longest).replace("$", r"\$")


def inline_svg(figure: Figure, description: str) -> Markup:
    """Convert a figure to inline SVG, with ink and grid in the colours of the page.

    Args:
        figure: drawn with `INK` and `GRID`.
        description: text for screen readers, unique within a page.
    """
    from markupsafe import Markup, escape
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(GRID, "var(--line)")
    size = re.search(r'viewBox="[^"]*"', svg)
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index(">") + 1 :], flags=re.DOTALL)
    body = re.sub(r' id="(?:figure|axes|patch|line2d|matplotlib\.axis|xtick|ytick|text)_\d+"', "", body)
    viewbox = size[0] if size else ""
    width = f"max-width: {figure.get_figwidth():g}in"
    head = f'<svg class="plot" style="{width}" role="img" aria-label="{escape(description)}" {viewbox}>'
    return Markup(head + body)  # noqa: S704
