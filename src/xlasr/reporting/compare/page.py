"""``compare.html``: the table and the figures in one file that loads nothing and runs nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from xlasr.errors import UsageError
from xlasr.files import write_text
from xlasr.reporting import fonts
from xlasr.reporting.compare.figures import curves_plot, minutes_plot, parameters_plot
from xlasr.reporting.compare.letters import confusion_plots, rarity_plot
from xlasr.reporting.compare.plot import Plot
from xlasr.reporting.compare.table import (
    RunComparison,
    cost_cells,
    decoding,
    more_cells,
    rate_cells,
    table_csv,
)
from xlasr.reporting.drawing import OKABE_ITO
from xlasr.reporting.formatting import per_cent, whole
from xlasr.reporting.html import template_environment
from xlasr.reporting.tables import verdict

PAGE = "compare.html"


@dataclass(frozen=True)
class Figures:
    """What is drawn, and what is not.

    Attributes:
        plots: In the order of the page, confusion maps last.
        left_out: Why a plot is not there, a sentence each.
        font_note: Which characters no installed font has, and what to do; "" where all are there.
    """

    plots: tuple[Plot, ...]
    left_out: tuple[str, ...]
    font_note: str


def figures_of(found: RunComparison) -> Figures:
    """Return the figures of a comparison."""
    rarity, why = rarity_plot(found)
    maps, more = confusion_plots(found)
    folds = any(result.row.folds for result in found.results)
    curves = "folds have one each" if folds else "no run has two evaluations on dev"
    optional = {
        "Error against minutes: no run says how many minutes it heard.": minutes_plot(found),
        "Error against trained parameters: no run says them.": parameters_plot(found),
        f"Learning curves: {curves}.": curves_plot(found),
        f"Error against rarity: {why}": rarity,
    }
    left_out = [sentence for sentence, plot in optional.items() if plot is None]
    if more:
        left_out.append(f"Confusion maps: {more}")
    plots = [plot for plot in optional.values() if plot is not None] + maps
    _, missing = fonts.covering(text for plot in plots for text in plot.text)
    return Figures(tuple(plots), tuple(left_out), fonts.note(missing))


def write_comparison(found: RunComparison, folder: str | Path) -> RunComparison:
    """Write ``compare.html``, ``compare.csv`` and ``figures/`` (PNG, SVG and CSV of each).

    Args:
        found: Of ``compare_rows``.
        folder: New or empty, or that of an earlier comparison, which is replaced.

    Returns:
        The comparison, with a note where no font has the letters of the figures.

    Raises:
        UsageError: The folder holds something else.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; give another --out")
    if target.exists() and any(target.iterdir()) and not (target / PAGE).exists():
        raise UsageError(
            f"{target} is not empty and holds no earlier comparison (no {PAGE}); give a new folder"
        )
    figures = figures_of(found)
    if figures.font_note:
        found = replace(found, notes=(*found.notes, figures.font_note))
    page = render(found, figures)
    shutil.rmtree(target / "figures", ignore_errors=True)  # of the earlier comparison
    (target / "figures").mkdir(parents=True)
    for plot in figures.plots:
        plot.write(target / "figures")
    write_text(target / "compare.csv", table_csv(found))
    write_text(target / PAGE, page)
    return found


def render(found: RunComparison, figures: Figures) -> str:
    """Return the page as text."""
    from markupsafe import Markup

    first = found.results[0].row
    rows = []
    for at, group in enumerate(found.groups):
        for nth, row in enumerate(group.rows):
            result = next(r for r in found.results if r.row is row)
            rows.append(
                {
                    "row": row,
                    "group": group,
                    "look": at % len(OKABE_ITO),
                    "first": nth == 0,
                    "rates": rate_cells(result),
                    "cost": cost_cells(row),
                    "decoding": decoding(row),
                    "more": more_cells(result),
                    "mean": {m: per_cent(group.mean(m)) for m in result.rates}
                    if len(group.rows) > 1 and nth == len(group.rows) - 1
                    else None,
                }
            )
    return (
        template_environment()
        .get_template("compare.html.j2")
        .render(
            found=found,
            rows=rows,
            one_speech=len({r.row.split_sha256 for r in found.results}) == 1,
            more=list(found.results[0].more),
            folds=any(r.row.folds for r in found.results),
            utterances=whole(len(first.score.utterances)),
            resampled=whole(len(first.score.per_group("cer")[0])),
            split=first.split,
            normaliser=f"{first.score.normaliser} v{first.score.normaliser_version}",
            versus=[
                (r.row, [(c.name, verdict(c)) for c in r.versus]) for r in found.results if r.versus
            ],
            base_rates={
                m.upper(): per_cent(found.base.counts(m).rate) for m in ("cer", "wer")
            }
            if found.base
            else {},
            # Drawn by us; what matplotlib draws of names it has escaped.
            drawings=[(plot, Markup(plot.svg_for_page())) for plot in figures.plots],  # noqa: S704
            left_out=figures.left_out,
            has_forgetting=any(r.row.forgetting for r in found.results),
            has_guards=any(r.row.guards for r in found.results),
            has_speed=any(r.row.real_time_factor is not None for r in found.results),
        )
    )  # fmt: skip
