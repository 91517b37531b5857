"""A ranking of pivots on the terminal: what ``xlasr pivots`` prints."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlasr.diagnosis.pivots import Candidate, Measure, PivotRanking
from xlasr.reporting.formatting import number


def show_pivots(console: Console, ranking: PivotRanking) -> None:
    """Print the table, what its columns are, what is missing, and what to keep in mind.

    Args:
        console: Where to.
        ranking: Of ``diagnosis.pivots.pivots``.
    """
    shown = [
        m for m in ranking.measures if any(_value(c, m) is not None for c in ranking.candidates)
    ]
    title = f"pivots for {ranking.name} ({ranking.target})"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("")
    table.add_column("pivot", overflow="fold")
    table.add_column("score", justify="right")
    for measure in shown:
        table.add_column(measure.title, justify="right")
    for candidate in ranking.candidates:
        place = f"{candidate.place}{'=' if candidate.tied else ''}"
        score = "–" if candidate.score is None else number(candidate.score, 2)
        label = f"{candidate.language} {candidate.name}"
        table.add_row(place, label, score, *(_cell(candidate, m) for m in shown))
    console.print(table, highlight=False)
    _say(
        console,
        "value, (rank). score: the mean over kinds of evidence of (rank - 1/2) / candidates; 0 is "
        "first everywhere, 1 last. Equal ones share a rank",
    )
    for measure in shown:
        closer = "more is closer" if measure.more else "less is closer"
        told = f"{measure.what}; {closer}; {_source(ranking, measure)}"
        _say(console, f"{measure.title} ({measure.kind}): {told}")
    for line in _missing(ranking):
        _say(console, f"missing: {line}")
    for note in ranking.notes:
        console.print(Text.assemble(("note: ", "bold"), note))


def _say(console: Console, line: str) -> None:
    console.print(Text(line, style="dim"))


def _value(candidate: Candidate, measure: Measure) -> float | None:
    return candidate.evidence[measure.key].value


def _cell(candidate: Candidate, measure: Measure) -> str:
    found = candidate.evidence[measure.key]
    if found.value is None or found.rank is None:
        return "–"
    return f"{number(found.value, measure.digits)}\n({found.rank:g})"


def _source(ranking: PivotRanking, measure: Measure) -> str:
    """Where a column comes from, and its noise floor."""
    having = [c.evidence[measure.key] for c in ranking.candidates]
    having = [evidence for evidence in having if evidence.value is not None]
    sources = dict.fromkeys(evidence.source for evidence in having)
    if measure.kind == "family":
        told = "; ".join(
            f"{c.language}: {c.evidence[measure.key].source.partition(', ')[2]}"
            for c in ranking.candidates
            if c.evidence[measure.key].value is not None
        )
        told = f"{next(iter(sources)).partition(', ')[0]}: {told}"
    else:
        told = next(iter(sources)) if len(sources) == 1 else "; ".join(sources)
    floors = [evidence.floor for evidence in having if evidence.floor is not None]
    if floors:
        low, high = (number(end, measure.digits) for end in (min(floors), max(floors)))
        told += f"; noise floor {low}" + (f" to {high}" if high != low else "")
    return told


def _missing(ranking: PivotRanking) -> list[str]:
    """One line for each reason."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for measure in ranking.measures:
        for candidate in ranking.candidates:
            found = candidate.evidence[measure.key]
            if found.value is None:
                titles = reasons.setdefault(found.source, {})
                titles.setdefault(measure.title, []).append(candidate.language)
    lines = []
    for reason, titles in reasons.items():
        languages = list(dict.fromkeys(tag for tags in titles.values() for tag in tags))
        everyone = len(languages) == len(ranking.candidates)
        whose = "" if everyone else f" of {', '.join(languages)}"
        lines.append(f"{', '.join(titles)}{whose} ({reason})")
    return lines
