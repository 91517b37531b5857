"""A scorecard on the terminal: what ``xlasr score`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlasr.reporting import lines as selection
from xlasr.reporting.formatting import per_cent, span, whole
from xlasr.reporting.sections import Section, numbers, of_card
from xlasr.reporting.tables import marked
from xlasr.scoring import Counts, UtteranceScore, rate_interval
from xlasr.scoring.confidence import RateInterval
from xlasr.scoring.scorecard import Scorecard


def show_scorecard(console: Console, card: Scorecard, lines: int = 5) -> None:
    """Print rates with counts and intervals, rare words, micro-WER, kinds of errors and lines.

    Args:
        console: Where to.
        card: Of ``score_files``.
        lines: Worst and best lines shown; 0 is none.
    """
    groups = card.cer.n_groups
    resampled = "" if card.unit == "utterances" else f", {whole(groups)} groups by {card.unit!r}"
    _show(
        console,
        f"{whole(len(card.score.utterances))} utterances{resampled};"
        f" normaliser {card.score.normaliser} v{card.score.normaliser_version}"
        f"{'' if card.score.costs == 'levenshtein' else f', costs of {card.score.costs}'}",
        _rates(card),
    )
    notes = [interval.note for interval in (card.wer, card.cer) if interval is not None]
    for note in dict.fromkeys([*card.notes, *notes]):
        if note:
            console.print(Text.assemble(("note: ", "bold"), note))
    for metric, found in card.reductions.items():
        name = "WERR" if metric == "wer" else "CERR"
        text = f"{per_cent(found.value)} ({span((found.low, found.high))})"
        console.print(Text.assemble((f"{name} over the other system: ", "bold"), text))
        if found.note and found.note not in notes:
            console.print(Text.assemble(("note: ", "bold"), found.note))
    for section in of_card(card):
        show_section(console, section)
    if lines > 0:
        _show_lines(console, "worst lines", card.score.worst(lines), card)
        _show_lines(console, "best lines", card.score.best(lines), card)
        console.print(Text("[-missing] [+too much] [heard|said]", style="dim"), highlight=False)


def _table(first: str, headings: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _show(console: Console, title: str, table: Table) -> None:
    # A table's own title is broken to the width of the table.
    console.print(Text(title, style="bold"))
    console.print(table)


def _rates(card: Scorecard) -> Table:
    table = _table("measure", ("rate", "95 % interval", "S", "D", "I", "N"))

    def add(name: str, counts: Counts, interval: RateInterval | None = None) -> None:
        ends = "" if interval is None else span((interval.low, interval.high))
        table.add_row(name, per_cent(counts.rate), ends, *numbers(counts))

    if card.wer is not None:
        add("WER", card.score.words, card.wer)
    add("CER", card.score.characters, card.cer)
    if card.japanese is not None:
        words, readings = card.japanese.words, card.japanese.readings
        name = f"WER, MeCab words ({card.japanese.dictionary})"
        add(name, words.words, rate_interval(words, "wer"))
        name = "CER, kana and kanji of one reading equal"
        add(name, readings.characters, rate_interval(readings, "cer"))
    if card.score.normaliser != "raw":
        if card.wer is not None:
            add("WER as written", card.raw.words)
        add("CER as written", card.raw.characters)
    return table


def show_section(console: Console, section: Section) -> None:
    """Print a titled table and its notes."""
    table = _table(section.headings[0], section.headings[1:])
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    _show(console, f"\n{section.title}", table)
    for note in section.notes:
        console.print(Text(f"   {note}"))


def _show_lines(
    console: Console, title: str, chosen: Sequence[UtteranceScore], card: Scorecard
) -> None:
    console.print(Text(f"\n{title}", style="bold"))
    for line in selection.lines(chosen, None, card.metric):
        head = Text(f"{per_cent(line.utterance.cer):>8} CER  ", style="bold")
        head.append(line.utterance.id, style="dim")
        console.print(head)
        console.print(marked(line.ops, "" if card.metric == "cer" else " "), soft_wrap=True)
