"""Which characters are taken for which, and error against how rare a word is in training."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xlasr.data.corpus import Corpus
from xlasr.errors import DataError, UsageError
from xlasr.reporting.compare.figures import LABEL, handle, legend, new_figure
from xlasr.reporting.compare.folds import together
from xlasr.reporting.compare.plot import Plot
from xlasr.reporting.compare.rows import RunRow
from xlasr.reporting.compare.table import Group, RunComparison
from xlasr.reporting.drawing import Palette, clip
from xlasr.reporting.formatting import whole
from xlasr.scoring.breakdown import Confusion, confusion
from xlasr.scoring.rare_words import RareWords, miss_rate, rare_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = 30
"""Characters in a confusion map, those with the most errors."""
MAPS = 4
"""Confusion maps in a comparison, of the first groups."""
_CELL = 0.235
"""Inches of a cell of the map."""


def confusion_plots(found: RunComparison) -> tuple[list[Plot], str]:
    """Return confusion maps of the first groups, and which groups were left out, in words."""
    plots = []
    for at, group in enumerate(found.groups[:MAPS]):
        table = confusion(together([row.score for row in group.rows]))
        if (table.matrix.sum() - np.trace(table.matrix)) > 0:
            plots.append(_map(group, table, at))
    left_out = ", ".join(group.name for group in found.groups[MAPS:])
    return plots, f"Drawn for the first {MAPS} groups; not for {left_out}." if left_out else ""


def _map(group: Group, table: Confusion, at: int) -> Plot:
    top = table.top(SYMBOLS)
    # á beside a, and "nothing" last
    order = sorted(
        range(len(top.symbols)),
        key=lambda i: (
            not top.symbols[i],
            unicodedata.normalize("NFD", top.symbols[i]),
            top.symbols[i],
        ),
    )
    symbols = [top.symbols[i] for i in order]
    matrix = top.matrix[np.ix_(order, order)]
    said = {s: int(n) for s, n in zip(table.symbols, table.matrix.sum(axis=1), strict=True)}
    rows: list[list[Any]] = [
        [symbols[i], symbols[j], int(matrix[i, j]), said[symbols[i]]]
        for i in range(len(symbols))
        for j in range(len(symbols))
        if i != j and matrix[i, j]
    ]
    names = [_shown(symbol) for symbol in symbols]
    # what is missing or too much outweighs what is taken for another, and would leave it pale
    heaviest = max((row[2] for row in rows if row[0] and row[1]), default=rows[0][2])
    place = {symbol: i for i, symbol in enumerate(symbols)}

    def draw(palette: Palette) -> Figure:
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        # A map has hundreds of texts; laying them out automatically would take seconds.
        inner, before, behind = _CELL * len(symbols), 0.55, 0.35
        side = inner + before + behind
        figure = Figure(figsize=(side, side))
        axes = figure.add_axes((before / side, before / side, inner / side, inner / side))
        for ref, hyp, count, _ in rows:
            i, j = place[ref], place[hyp]
            strength = math.sqrt(min(1.0, count / heaviest))
            axes.add_patch(
                Rectangle(
                    (j - 0.48, i - 0.48), 0.96, 0.96, lw=0,
                    facecolor=palette.series[0], alpha=0.06 + 0.94 * strength,
                )
            )  # fmt: skip
            if count >= 2:
                axes.text(
                    j, i + 0.03, whole(count), ha="center", va="center",
                    fontsize=6.0 if count < 100 else 5.0,
                    color=palette.paper if strength > 0.6 else palette.ink,
                )  # fmt: skip
        for i in range(len(symbols)):  # what is right is not coloured: it would outweigh all
            axes.add_patch(Rectangle((i - 0.48, i - 0.48), 0.96, 0.96, lw=0, fc=palette.grid))
        axes.set_xlim(-0.5, len(symbols) - 0.5)
        axes.set_ylim(len(symbols) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xticks(range(len(symbols)), names)
        axes.set_yticks(range(len(symbols)), names)
        axes.tick_params(length=0, labelcolor=palette.ink, labelsize=9.5)
        axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=True)
        axes.set_xlabel("heard  (∅: missing)")
        axes.set_ylabel("said  (∅: too much)")
        return figure

    return Plot(
        f"confusion-{at + 1}-{re.sub(r'[^a-z0-9]+', '-', group.name.lower()).strip('-')}",
        f"Characters: {group.name}",
        f"Which character (row) was taken for which (column), with counts from 2 on; the"
        f" {len(symbols) - 1} characters with the most errors. ␣ is a space, ∅ nothing: its column"
        " holds what is missing, its row what is too much. Grey: right. Colour is full from"
        f" {whole(heaviest)} on."
        + (f" All {len(group.rows)} seeds together." if len(group.rows) > 1 else ""),
        ("said", "heard", "count", "said_in_all"),
        rows,
        (*names, "∅␣"),
        draw,
    )


def _shown(symbol: str) -> str:
    if not symbol:
        return "∅"
    if symbol.isspace():
        return "␣"
    if unicodedata.category(symbol)[0] == "M":
        return f"◌{symbol}"
    return clip(symbol) if symbol.isprintable() else f"U+{ord(symbol):04X}"


def rarity_plot(found: RunComparison) -> tuple[Plot | None, str]:
    """Error against a word's count in training; or None and why, in words.

    All runs are held against the same text: the training split of the corpus they share.
    """
    texts, why = training_texts([result.row for result in found.results])
    if texts is None:
        return None, why
    try:
        tables = {
            row.label: rare_words(row.score, texts, metric=found.metric)
            for group in found.groups
            for row in group.rows
        }
    except DataError as error:
        return None, f"{error}."
    return _rarity(found, tables), ""


def training_texts(rows: Sequence[RunRow]) -> tuple[list[str] | None, str]:
    """Return the training transcripts of the runs' one corpus, or None and why not, in words."""
    if any(row.folds for row in rows):
        return None, "Each fold was trained on other texts, so a word has no one count."
    if len({row.corpus_sha256 for row in rows}) > 1:
        return None, "The runs were trained on different corpora, so a word has no one count."
    path = Path(rows[0].corpus)
    try:
        corpus = Corpus.open(path)
        corpus.verify()
        if corpus.sha256 != rows[0].corpus_sha256:
            return None, f"The corpus {path} was made anew since these runs were trained on it."
        return [utterance.text for utterance in corpus.split("train")], ""
    except (DataError, UsageError, OSError) as error:
        return None, f"The training text cannot be read: {error}"


def _rarity(found: RunComparison, tables: dict[str, RareWords]) -> Plot:
    unit = "word" if found.metric == "wer" else "character"
    first = next(iter(tables.values()))
    # The references are the same for all runs, and with them words and bins.
    bins = [i for i, part in enumerate(first.bins) if part.counts.reference]
    names = [first.bins[i].name for i in bins]
    sizes = [first.bins[i].counts.reference for i in bins]
    rows: list[list[Any]] = []
    for group in found.groups:
        rates = {row.label: [100 * miss_rate(tables[row.label].bins[i].counts) for i in bins]
                 for row in group.rows}  # fmt: skip
        for row in group.rows:
            rows += [
                ["run", group.name, row.label, row.seed, *cells]
                for cells in zip(names, sizes, rates[row.label], strict=True)
            ]
        if len(group.rows) > 1:
            means = [sum(values) / len(values) for values in zip(*rates.values(), strict=True)]
            rows += [
                ["mean", group.name, "", None, *cells]
                for cells in zip(names, sizes, means, strict=True)
            ]

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure(1, height=4.0)
        for i, group in enumerate(found.groups):
            colour, marker = palette.look(i)
            for kind in ("run", "mean"):
                for label in dict.fromkeys(r[2] for r in rows if r[:2] == [kind, group.name]):
                    points = [r for r in rows if r[:3] == [kind, group.name, label]]
                    line = kind == "mean" or len(group.rows) == 1
                    axes.plot(
                        [names.index(r[4]) for r in points],
                        [r[6] for r in points],
                        color=colour,
                        lw=1.5 if line else 0.0,
                        marker=marker if kind == "run" else "",
                        markersize=5,
                    )
        axes.set_xticks(
            range(len(names)),
            [f"{n}\n{whole(size)} {unit}s" for n, size in zip(names, sizes, strict=True)],
        )
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"how often the {unit} stands in the training text; below: how many tested")
        axes.set_ylabel(f"{unit}s not recognised, in per cent")
        looks = [(palette.look(i), clip(g.name, LABEL)) for i, g in enumerate(found.groups)]
        legend(figure, [handle(look, name, lw=1.5) for look, name in looks])
        return figure

    return Plot(
        "error-by-rarity",
        f"Error against {unit} rarity",
        f"Share of the tested {unit}s that were missed or taken for another, by their count in the"
        f" train split of {Path(found.results[0].row.corpus).name} ({whole(first.training_words)}"
        f" {unit}s), the same for all runs. Lines: the mean of seeds.",
        ("kind", "group", "run", "seed", "training_count", "tested", "missed_percent"),
        rows,
        tuple(group.name for group in found.groups),
        draw,
    )
