"""Error against minutes and against trained parameters, and learning curves.

Every group has one colour and one marker in all figures. Runs are dots with their 95 % interval;
the mean of several seeds is a bar across them. Runs at the same place are drawn side by side: their
dots are moved by points of the page, the data stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from xlasr.reporting.compare.plot import Plot
from xlasr.reporting.compare.rows import RunRow
from xlasr.reporting.compare.table import Group, RunComparison, series_key
from xlasr.reporting.drawing import Palette, clip
from xlasr.reporting.formatting import number, per_cent, short
from xlasr.reporting.plots import curves
from xlasr.scoring.error_rates import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

WIDTH = 9.0
"""Inches: what fills a page's column."""
_NEAR = 0.04
"""Of the axis' width: closer dots are drawn side by side."""
_STEP = 9.0
"""Points between dots that are drawn side by side, where they are few."""
_SPREAD = 64.0
"""Points over which at most the dots of one place are spread."""
_PANEL = 230.0
"""Points of a panel's width, about."""
LABEL = 44
"""Characters of a group's name in a legend."""


def minutes_plot(found: RunComparison) -> Plot | None:
    """Error against minutes of training speech, log axis; None where no run says its minutes."""
    left_out = [r.row.label for r in found.results if not r.row.minutes]
    caption = (
        "Minutes of the run's own corpus that training heard, on a logarithmic axis. A line joins"
        " runs that differ in nothing but how much they heard and how long they trained."
    )
    if left_out:
        caption += f" Left out, minutes not known: {', '.join(left_out)}."
    return _against(
        found,
        "error-by-minutes",
        "Error against minutes of training speech",
        caption,
        "minutes of training speech",
        lambda row: row.minutes,
        lambda x: number(x, 0 if x >= 1 else 1),
        join=True,
    )


def parameters_plot(found: RunComparison) -> Plot | None:
    """Error against trained parameters, log axis; None where no run says them."""
    return _against(
        found,
        "error-by-parameters",
        "Error against trained parameters",
        "Parameters that training changed (of the largest stage), on a logarithmic axis.",
        "trained parameters",
        lambda row: row.trained,
        lambda x: short(x).replace("\u00a0", " "),
    )


def curves_plot(found: RunComparison) -> Plot | None:
    """CER on dev against audio heard in training; None where no run has two points."""
    rows: list[list[Any]] = []
    lines: list[tuple[int, str, list[float], list[float]]] = []
    drawn = set()
    for i, group in enumerate(found.groups):
        for row in group.rows:
            read = curves(row.metrics)
            # decoded in two ways it is still one training
            if row.folder in drawn or len(read["dev_cer"]) < 2 or not read["audio_s"]:
                continue
            drawn.add(row.folder)
            at, heard = zip(*[(0.0, 0.0), *read["audio_s"]], strict=True)
            updates = [x for x, _ in read["dev_cer"]]
            minutes = [float(m) for m in np.interp(updates, at, np.array(heard) / 60)]
            cer = [100 * y for _, y in read["dev_cer"]]
            lines.append((i, group.name, minutes, cer))
            rows += [
                [group.name, row.label, row.seed, *point]
                for point in zip(updates, minutes, cer, strict=True)
            ]
    if not lines:
        return None

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure(1, height=4.0)
        named = set()
        for i, name, minutes, cer in lines:
            colour, marker = palette.look(i)
            label = None if name in named else clip(name, LABEL)
            named.add(name)
            axes.plot(
                minutes, cer, color=colour, marker=marker, markersize=4.5, lw=1.5, label=label
            )
        # The first evaluations reach several hundred per cent; the rest must stay readable.
        top = max(max(cer) for _, _, _, cer in lines)
        axes.set_ylim(0, min(110.0, 1.06 * top) if top > 0 else 1)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes of audio heard, repetitions included")
        axes.set_ylabel("CER on dev in per cent")
        legend(figure)
        return figure

    return Plot(
        "learning-curves",
        "Learning curves",
        "CER on the run's own dev split while it trained, decoded greedily; runs that differ in"
        " their seed have one colour.",
        ("group", "run", "seed", "update", "minutes_heard", "dev_cer_percent"),
        rows,
        tuple(group.name for group in found.groups),
        draw,
    )


def _against(
    found: RunComparison,
    name: str,
    title: str,
    caption: str,
    x_label: str,
    get: Callable[[RunRow], float | None],
    show: Callable[[float], str],
    join: bool = False,
) -> Plot | None:
    """A plot of the error rates of all runs against a positive number, on a log axis."""
    metrics: tuple[Metric, ...] = ("cer",) if found.metric == "cer" else ("wer", "cer")
    rates = {result.row.label: result.rates for result in found.results}
    places: dict[str, float] = {}
    rows: list[list[Any]] = []
    for group in found.groups:
        xs = [x for x in map(get, group.rows) if x]
        if not xs:
            continue
        places[group.name] = float(xs[0])
        for row in group.rows:
            cells: list[Any] = ["run", group.name, row.label, row.seed, get(row)]
            for metric in metrics:
                rate = rates[row.label][metric]
                cells += [100 * rate.value, 100 * rate.low, 100 * rate.high]
            rows.append(cells)
        if len(group.rows) > 1:
            means = [cell for m in metrics for cell in (100 * group.mean(m), None, None)]
            rows.append(["mean", group.name, "", None, places[group.name], *means])
    if not rows:
        return None
    shifts, step = side_by_side(
        {group.name: (places[group.name], len(group.rows)) for group in found.groups
         if group.name in places}
    )  # fmt: skip
    columns = [f"{m}_{part}" for m in metrics for part in ("percent", "low", "high")]
    if found.base is not None:
        told = " and ".join(
            f"{m.upper()} {per_cent(found.base.counts(m).rate)}" for m in reversed(metrics)
        )
        caption += f" The unadapted base, outside of the picture: {told}."

    def draw(palette: Palette) -> Figure:
        figure, panels = new_figure(len(metrics))
        for panel, (axes, metric) in enumerate(zip(panels, metrics, strict=True)):
            for i, group in enumerate(found.groups):
                mine = [row for row in rows if row[1] == group.name]
                if mine:
                    at = 5 + 3 * panel
                    _group_dots(axes, mine, at, palette.look(i), shifts[group.name], step)
            if join:
                _joined(axes, found.groups, places, metric, palette, shifts)
            axes.set_ylim(bottom=0)
            axes.set_ylabel(f"{metric.upper()} in per cent")
            axes.set_xlabel(x_label)
            log_axis(axes, list(places.values()), show, max(map(abs, shifts.values())))
        handles = [
            handle(palette.look(i), clip(group.name, LABEL))
            for i, group in enumerate(found.groups)
            if group.name in places
        ]
        legend(figure, handles)
        return figure

    return Plot(
        name,
        title,
        caption + " Dots: runs with their 95 % interval, side by side where they share a place;"
        " bars: means of seeds.",
        ("kind", "group", "run", "seed", x_label.replace(" ", "_"), *columns),
        rows,
        tuple(places),
        draw,
    )


def _group_dots(
    axes: Axes,
    rows: Sequence[Sequence[Any]],
    at: int,
    look: tuple[str, str],
    shift: float,
    step: float,
) -> None:
    """Draw the runs of a group around its place, moved by ``shift`` points, and their mean."""
    colour, marker = look
    runs = [row for row in rows if row[0] == "run"]
    for nth, row in enumerate(rows):
        x, y, low, high = row[4], row[at], row[at + 1], row[at + 2]
        if row[0] == "mean":
            axes.plot(
                x, y, marker="_", markersize=step * len(runs) + 5, markeredgewidth=2.2,
                color=colour, transform=_moved(axes, shift), zorder=4,
            )  # fmt: skip
            continue
        moved = _moved(axes, shift + step * (nth - (len(runs) - 1) / 2))
        if low is not None and low == low:
            axes.vlines(x, low, high, color=colour, lw=1.2, alpha=0.55, transform=moved, zorder=2)
        size = 6.5 if len(runs) == 1 else 5.0
        axes.plot(x, y, marker=marker, markersize=size, color=colour, transform=moved, zorder=3)
        # what is moved does not count for the limits of the axes
        axes.update_datalim([(x, y), (x, y if high is None or high != high else high)])


def _moved(axes: Axes, points: float) -> Transform:
    """Data coordinates, moved to the right by points of the page."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _joined(
    axes: Axes,
    groups: Sequence[Group],
    places: dict[str, float],
    metric: Metric,
    palette: Palette,
    shifts: dict[str, float],
) -> None:
    """Join the means of runs that differ in how much they heard, in that order."""
    series: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        if group.name in places:
            series.setdefault(series_key(group.rows[0]), []).append(group)
    for members in series.values():
        members.sort(key=lambda group: places[group.name])
        for left, right in pairwise(members):
            ends = [_moved(axes, shifts[group.name]) for group in (left, right)]
            axes.annotate(
                "",
                (places[right.name], 100 * right.mean(metric)),
                (places[left.name], 100 * left.mean(metric)),
                xycoords=ends[1],
                textcoords=ends[0],
                arrowprops={
                    "arrowstyle": "-", "linestyle": "--", "lw": 1.1,
                    "color": palette.muted, "shrinkA": 0, "shrinkB": 0,
                },
                zorder=1,
            )  # fmt: skip


def side_by_side(places: dict[str, tuple[float, int]]) -> tuple[dict[str, float], float]:
    """Return by how many points each group is moved so that near ones stand side by side.

    Args:
        places: By name: the positive place on a log axis, and how many dots it takes.

    Returns:
        Points by name, 0 where a group stands alone; and the points between two dots.
    """
    logs = {name: math.log10(x) for name, (x, _) in places.items()}
    near = _NEAR * (max(logs.values()) - min(logs.values())) + 1e-9
    clusters: list[list[str]] = []
    for name in sorted(logs, key=lambda n: (logs[n], list(logs).index(n))):
        if clusters and logs[name] - logs[clusters[-1][-1]] <= near:
            clusters[-1].append(name)
        else:
            clusters.append([name])
    sizes = [sum(places[name][1] for name in cluster) for cluster in clusters]
    step = min(_STEP, _SPREAD / max(sizes))
    shifts = {}
    for cluster, size in zip(clusters, sizes, strict=True):
        at = -size / 2
        for name in cluster:
            shifts[name] = step * (at + places[name][1] / 2)
            at += places[name][1]
    return shifts, step


def log_axis(
    axes: Axes, values: Sequence[float], show: Callable[[float], str], reach: float = 0.0
) -> None:
    """Make the x axis logarithmic around some values, with ticks at them and at 1, 2 and 5.

    Args:
        axes: Whose x axis.
        values: Positive; each has a tick unless it would touch another's.
        show: Makes a tick's text.
        reach: Points beyond the values that must be inside.
    """
    low, high = min(values), max(values)
    axes.set_xscale("log")
    room = max(1.35, (high / low) ** (0.06 + reach / _PANEL))
    axes.set_xlim(low / room, high * room)
    low, high = axes.get_xlim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for tick in [*sorted(set(values)), *(m * 10.0**d for d in decades for m in (1, 2, 5))]:
        apart = min((abs(math.log(tick / other)) for other in ticks), default=math.inf)
        if low <= tick <= high and apart > 0.16 * math.log(high / low):
            ticks.append(tick)
    axes.set_xticks(sorted(ticks), [show(tick) for tick in sorted(ticks)])
    axes.set_xticks([], minor=True)


def new_figure(panels: int, height: float = 3.9) -> tuple[Figure, list[Axes]]:
    """Return a figure of the page's width with panels side by side, under the caller's style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    found = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for axes in found:
        axes.grid(visible=True, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, found


def handle(look: tuple[str, str], label: str, lw: float = 0.0) -> Any:
    """Return a group's mark for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look[0], marker=look[1], markersize=6.0, lw=lw, label=label)


def legend(figure: Figure, handles: Sequence[Any] | None = None) -> None:
    """Put the legend below the panels, in as many columns as its names leave room for."""
    if handles is None:
        handles = [h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]]
    longest = max((len(str(h.get_label())) for h in handles), default=1)
    width = figure.get_figwidth()
    columns = max(1, min(len(handles), int(width / (0.5 + 0.075 * longest))))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
