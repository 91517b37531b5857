"""What every drawing shares: colours, style, and SVG that stands inside a page.

A drawing is made in a palette. ``PAGE`` has stand-in colours that ``page_svg`` replaces by the
page's CSS variables, so one drawing serves the light and the dark page; ``PRINT`` is for files.

Source of the colours of data: M. Okabe and K. Ito, "Color Universal Design", 2008, told apart by
readers with any of the common colour deficiencies. Their yellow is left out (invisible on white).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
MARKERS = "osD^vPX*h"
"""As many as have no factor in common with the colours: 63 pairs before one repeats."""

# Stand-in -> what the page calls it. No real drawing uses these colours.
COLOURS = {
    "ink": ("#010203", "var(--ink)"),
    "muted": ("#010204", "var(--muted)"),
    "grid": ("#010205", "var(--line)"),
    "base": ("#010206", "var(--base)"),
    "adapted": ("#010207", "var(--adapted)"),
    "extra": ("#010208", "var(--extra)"),
    "paper": ("#010209", "var(--paper)"),
    **{f"s{i}": (f"#01030{i}", f"var(--s{i})") for i in range(len(OKABE_ITO))},
}


@dataclass(frozen=True)
class Palette:
    """Colours of a drawing, as matplotlib takes them.

    Attributes:
        ink: Text and what is drawn first.
        muted: Axes and their numbers.
        grid: Lines behind the data.
        paper: What it lies on.
        series: Colours of data, one a series.
    """

    ink: str
    muted: str
    grid: str
    paper: str
    series: tuple[str, ...]

    def look(self, i: int) -> tuple[str, str]:
        """Return colour and marker of the series ``i``, from 0."""
        return self.series[i % len(self.series)], MARKERS[i % len(MARKERS)]


PAGE = Palette(
    ink=COLOURS["ink"][0],
    muted=COLOURS["muted"][0],
    grid=COLOURS["grid"][0],
    paper=COLOURS["paper"][0],
    series=tuple(COLOURS[f"s{i}"][0] for i in range(len(OKABE_ITO))),
)
PRINT = Palette("#16181d", "#5b6270", "#dde1e7", "#ffffff", OKABE_ITO)


def style(palette: Palette, fonts: Sequence[str] = ("DejaVu Sans",)) -> dict[Any, Any]:
    """Return matplotlib's settings of our drawings, for ``rc_context``."""
    return {
        "svg.fonttype": "none",
        "font.family": list(fonts),
        "font.size": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "axes.edgecolor": palette.grid,
        "axes.labelcolor": palette.muted,
        "axes.titlecolor": palette.ink,
        "text.color": palette.ink,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "grid.color": palette.grid,
        "legend.frameon": False,
        "legend.labelcolor": palette.ink,
    }


def page_svg(figure: Figure, title: str) -> str:
    """Render a figure drawn in ``PAGE``, and make the SVG fit to stand in a page beside others.

    Args:
        figure: Its text stays text, so the browser's fonts show any script.
        title: Read aloud instead of the drawing; also makes its ids its own.
    """
    svg = svg_text(figure, title, "none")
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", svg)
    for stand_in, name in COLOURS.values():
        svg = svg.replace(stand_in, name)
    # The drawing's own size stays in viewBox; the page decides how wide it is.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def svg_text(figure: Figure, title: str, text: Literal["none", "path"]) -> str:
    """Return a figure as an SVG element that is equal for equal drawings.

    Args:
        figure: To render.
        title: Ids are made of it, and not of chance.
        text: "none" keeps text as text, "path" draws it, so that it looks alike everywhere.
    """
    import matplotlib

    out = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": text, "svg.hashsalt": title}),
        warnings.catch_warnings(),
    ):
        # Names come in any script; the browser has the font that matplotlib lacks, and what is
        # missing in a file is said by fonts.covering.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def clip(name: str, length: int = 22) -> str:
    """Return a name for a label: cut to ``length``, and no mathematics of matplotlib's."""
    shown = name if len(name) <= length else name[: length - 1] + "…"
    return shown.replace("$", r"\$")
