"""Plots of a report as SVG text: no image files, no scripts, the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xlasr.reporting.drawing import COLOURS, PAGE, clip, page_svg, style
from xlasr.reporting.formatting import number
from xlasr.scoring import Score
from xlasr.scoring.error_rates import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RC = style(PAGE)
Row = Mapping[str, Any]
CUT = 150.0
"""Per cent; a base that says more than that only says that it does not know the language."""


def curves(metrics: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    """Collect curves from rows of ``metrics.jsonl``, stages one behind the other.

    Args:
        metrics: Rows with ``stage``, ``update`` and ``audio_s`` (both counted within the stage) and
            any of the curves' keys; other rows and values that are not finite are left out.

    Returns:
        For "loss", "train_loss", "dev_loss", "dev_cer", "dev_wer", "audio_s": points
        (updates since the run's beginning, value). ``audio_s`` adds up over stages, in seconds.
    """
    found: dict[str, list[tuple[float, float]]] = {
        key: [] for key in ("loss", "train_loss", "dev_loss", "dev_cer", "dev_wer", "audio_s")
    }
    before, audio_before = 0.0, 0.0
    last, audio_last, stage = 0.0, 0.0, None
    for row in metrics:
        update = finite(row.get("update"))
        if update is None:
            continue
        if row.get("stage") != stage:
            before, audio_before = before + last, audio_before + audio_last
            last, audio_last, stage = 0.0, 0.0, row.get("stage")
        last = max(last, update)
        for key, points in found.items():
            value = finite(row.get(key))
            if value is not None:
                if key == "audio_s":
                    audio_last = max(audio_last, value)
                    value += audio_before
                points.append((before + update, value))
    return found


def stage_ends(metrics: Sequence[Row]) -> list[tuple[str, float]]:
    """Return each stage's name and the update, counted over the run, at which it ended."""
    ends: list[tuple[str, float]] = []
    before = 0.0
    for row in metrics:
        update = finite(row.get("update"))
        if update is None:
            continue
        name = str(row.get("stage", ""))
        if not ends or ends[-1][0] != name:
            before = ends[-1][1] if ends else 0.0
            ends.append((name, before))
        ends[-1] = (name, max(ends[-1][1], before + update))
    return ends


def learning_curves(metrics: Sequence[Row]) -> list[str]:
    """Draw loss and dev error rates against updates, minutes of audio along the top.

    Returns:
        SVG elements: "loss" and "error rate", each only where there are at least two points.
    """
    found = curves(metrics)
    drawings = []
    if max(len(found["loss"]), len(found["dev_loss"])) > 1:
        figure, axes = _new("updates", "loss")
        # The mean since the last evaluation lags behind the curve; it stands in where steps lack.
        train = found["loss"] or found["train_loss"]
        _line(axes, train, "base", "train (augmented)", linewidth=1.4)
        _line(axes, found["dev_loss"], "adapted", "dev", marker="o")
        drawings.append(_finish(figure, axes, metrics, "Loss on train and dev against updates"))
    if len(found["dev_cer"]) > 1:
        figure, axes = _new("updates", "dev error rate in per cent")
        _line(axes, _times_100(found["dev_wer"]), "base", "WER", marker="s", linestyle="--")
        _line(axes, _times_100(found["dev_cer"]), "adapted", "CER", marker="o")
        update, best = min(found["dev_cer"], key=lambda point: (point[1], point[0]))
        axes.annotate(
            f"best {number(100 * best)}",
            (update, 100 * best),
            xytext=(0, -13),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
            color=COLOURS["ink"][0],
        )
        tops = [value for _, value in found["dev_wer"] + found["dev_cer"]]
        # Early loops reach 500 %; the rest of the curve must stay readable.
        axes.set_ylim(0, 100 * min(1.25, 1.08 * max(tops)) if max(tops) > 0 else 1)
        drawings.append(
            _finish(figure, axes, metrics, "Word and character error rate on dev against updates")
        )
    return drawings


def group_plot(base: Score | None, adapted: Score, metric: Metric = "cer", most: int = 30) -> str:
    """Draw the error rate of each group, base beside adapted, the hardest on top.

    Args:
        base: Score of the base, or None.
        adapted: Score of the adapted model.
        metric: "wer" or "cer".
        most: Groups shown; of more, an even selection from hard to easy.

    Returns:
        An SVG element; "" where there are fewer than two groups.
    """
    names, table = adapted.per_group(metric)
    rates = dict(zip(names, table[:, 0] / np.maximum(1, table[:, 1]), strict=True))
    if len(names) < 2:
        return ""
    ordered = sorted(names, key=lambda name: (rates[name], name))
    if len(ordered) > most:
        ordered = [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
    before: dict[str, float] = {}
    if base is not None:
        base_names, base_table = base.per_group(metric)
        base_rates = base_table[:, 0] / np.maximum(1, base_table[:, 1])
        before = {n: r for n, r in zip(base_names, base_rates, strict=True) if n in rates}
    figure, axes = _new(f"{metric.upper()} in per cent", "", height=0.8 + 0.2 * len(ordered))
    y = np.arange(len(ordered))
    right = np.array([100 * rates[name] for name in ordered])
    if all(name in before for name in ordered):
        # A loop of the base would squeeze everything else against the axis.
        left = np.array([min(CUT, 100 * before[name]) for name in ordered])
        if max(before[name] for name in ordered) > CUT / 100:
            axes.set_xlabel(f"{metric.upper()} in per cent (base drawn up to {CUT:.0f})")
        axes.hlines(y, right, left, color=COLOURS["grid"][0], linewidth=1.5, zorder=1)
        axes.scatter(left, y, color=COLOURS["base"][0], s=26, marker="s", label="base", zorder=2)
    axes.scatter(right, y, color=COLOURS["adapted"][0], s=32, label="adapted", zorder=3)
    axes.set_yticks(y, [clip(name) for name in ordered])
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    _legend(figure, "outside upper center")
    return page_svg(figure, f"{metric.upper()} of each group, base and adapted")


def _new(x_label: str, y_label: str, height: float = 3.1) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _line(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    colour: str,
    label: str,
    **style: Any,
) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=COLOURS[colour][0], label=label, markersize=4.5, **style)


def _legend(figure: Figure, place: Literal["outside upper center", "outside lower center"]) -> None:
    figure.legend(loc=place, ncols=3, frameon=False, labelcolor=COLOURS["ink"][0])


def _finish(figure: Figure, axes: Axes, metrics: Sequence[Row], title: str) -> str:
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    ends = stage_ends(metrics)
    total = ends[-1][1]
    axes.set_xlim(0, total * 1.01)
    for _, end in ends[:-1]:
        axes.axvline(end, color=COLOURS["muted"][0], linewidth=1.0, linestyle=":")
    audio = curves(metrics)["audio_s"]
    if audio and audio[-1][1] > 0:
        x, seconds = zip(*[(0.0, 0.0), *audio], strict=True)
        minutes = np.array(seconds) / 60
        ticks = np.asarray(MaxNLocator(5).tick_values(0, float(minutes[-1])))
        ticks = ticks[(ticks >= 0) & (ticks <= minutes[-1])]
        with matplotlib.rc_context(_RC):
            top = axes.secondary_xaxis("top")
        top.set_xticks(np.interp(ticks, minutes, x), [number(t, 0) for t in ticks])
        top.set_xlabel("minutes of audio heard")
    _legend(figure, "outside lower center")
    return page_svg(figure, title)


def _times_100(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, 100 * y) for x, y in points]


def finite(value: object) -> float | None:
    """Return a number as float; None for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
