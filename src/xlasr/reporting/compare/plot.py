"""A plot as a thing of its own: the numbers behind it, and how it is drawn in a palette."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.files import write_text
from xlasr.reporting import fonts
from xlasr.reporting.compare.table import csv_text
from xlasr.reporting.drawing import PAGE, PRINT, Palette, page_svg, style, svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
"""Of the PNG files."""


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        name: Of its files, without suffix.
        title: What it shows, in a few words.
        caption: How to read it.
        columns: Names of the columns behind it.
        rows: The numbers behind it; rates in per cent, as drawn.
        text: What is written in it, to choose fonts by.
        draw: Draws it in a palette, under the style of the caller.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    text: tuple[str, ...]
    draw: Callable[[Palette], Figure]

    def figure(self, palette: Palette = PRINT) -> Figure:
        """Draw it."""
        import matplotlib

        families, _ = fonts.covering(self.text)
        with matplotlib.rc_context(style(palette, families)):
            return self.draw(palette)

    def svg_for_page(self) -> str:
        """Return an SVG element in the page's own colours."""
        return page_svg(self.figure(PAGE), f"{self.name}: {self.title}")

    def write(self, folder: Path) -> None:
        """Write ``NAME.png``, ``NAME.svg`` and ``NAME.csv`` into an existing folder."""
        import matplotlib

        families, _ = fonts.covering(self.text)
        figure = self.figure()
        with matplotlib.rc_context(style(PRINT, families)), warnings.catch_warnings():
            # what no font has is said by fonts.note
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(folder / f"{self.name}.png", dpi=DPI, facecolor=PRINT.paper)
        # Drawn letters: the file looks alike where the font is not installed.
        write_text(folder / f"{self.name}.svg", svg_text(figure, self.name, "path"))
        write_text(folder / f"{self.name}.csv", csv_text(self.columns, self.rows))
