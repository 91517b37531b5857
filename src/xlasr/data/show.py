"""What a person sees while and after a corpus is prepared (on standard error)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from xlasr.data.card import Card
from xlasr.data.quarantine import NOTES, Quarantine, encodable

SHOWN = 10


class Display:
    """Prints to standard error, or nothing at all when ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)

    def say(self, line: str) -> None:
        """Print one line of plain text."""
        self.console.print(escape(encodable(line)), highlight=False)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar; yields a function that advances it."""
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda n: progress.advance(task, n)

    def quarantine(self, quarantine: Quarantine) -> None:
        """Show the first entries of each kind of problem, and the counts."""
        if not len(quarantine):
            return
        counts = ", ".join(f"{n} {reason}" for reason, n in quarantine.counts().items())
        title = f"{len(quarantine)} records cannot be used: {counts}"
        table = Table("record", "reason", "what was found", title=title, title_justify="left")
        # Rare reasons first: a hundred harmless lines must not hide the one damaged file.
        rank = quarantine.counts()
        for entry in sorted(quarantine, key=lambda e: rank[e.reason])[:SHOWN]:
            table.add_row(escape(entry.record), entry.reason, escape(entry.detail))
        self.console.print(table)
        if len(quarantine.entries) > SHOWN:
            self.say(f"... and {len(quarantine.entries) - SHOWN} more in quarantine.jsonl")

    def notes(self, quarantine: Quarantine) -> None:
        """Show the first notes of each kind, and the counts."""
        for reason, count in quarantine.note_counts().items():
            self.say(f"{count} {reason} ({NOTES[reason]}):")
            same = [note for note in quarantine.notes if note.reason == reason]
            for note in same[:SHOWN]:
                self.say(f"  {note.record}: {note.detail}")
            if len(same) > SHOWN:
                self.say(f"  ... and {len(same) - SHOWN} more in notes.jsonl")

    def card(self, card: Card, path: str) -> None:
        """Show the splits, what was dropped, and the warnings."""
        title = f"corpus {path}: {card.language}, {card.minutes:.1f} minutes"
        table = Table(title=title, title_justify="left")
        for column in ("split", "minutes", "utterances", "groups", "speakers", "new letters"):
            table.add_column(column, justify="left" if column == "split" else "right")
        for name, stats in card.splits.items():
            numbers = (stats.utterances, stats.groups, stats.speakers)
            unseen = " ".join(stats.unseen) or "-"
            table.add_row(name, f"{stats.minutes:.1f}", *map(str, numbers), escape(unseen))
        self.console.print(table)
        self.say(
            f"licence: {card.licence}" + (f" ({card.attribution})" if card.attribution else "")
        )
        self.say(f"groups: {card.group_rule}; split: {card.split_rule}")
        for reason, count in card.dropped.items():
            self.say(f"dropped {count} from {reason}")
        for warning in card.warnings:
            self.console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
