"""What stands below the headline, as tables of text: the same on the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xlasr.reporting.formatting import number, p_value, per_cent, whole
from xlasr.scoring import Counts, Score
from xlasr.scoring.rare_words import RareWords
from xlasr.scoring.scorecard import Scorecard

if TYPE_CHECKING:
    from xlasr.reporting.evaluation import Evaluation

COUNTS = ("S", "D", "I", "N")


@dataclass
class Section:
    """A table with what must be known to read it.

    Attributes:
        title: Above it.
        headings: Of the columns; the first one holds names, all others numbers or short words.
        rows: Cells as text, as many as headings.
        notes: Lines below.
    """

    title: str
    headings: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def of_evaluation(evaluation: Evaluation) -> list[Section]:
    """Return all there is below the headline of ``evaluate``."""
    sections = []
    if evaluation.card is not None:
        sections += of_card(evaluation.card)
    sections += list(_parts(evaluation))
    if evaluation.conditions:
        sections.append(_conditions(evaluation))
    if evaluation.also:
        sections.append(_also(evaluation))
    return sections


def of_card(card: Scorecard) -> list[Section]:
    """Return rare and common words, words that must be right, and kinds of errors."""
    sections = []
    if card.rare is not None:
        sections.append(_rare(card.rare))
    if any(m.tally.occurrences or m.tally.claimed for m in card.micro):
        sections.append(_micro(card))
    if any(kind.word_errors or kind.character_errors for kind in card.kinds):
        sections.append(_kinds(card))
    return sections


def numbers(counts: Counts) -> list[str]:
    """Return S, D, I and N as text."""
    found = (counts.substitutions, counts.deletions, counts.insertions, counts.reference)
    return [whole(count) for count in found]


def _rare(rare: RareWords) -> Section:
    unit = "words" if rare.metric == "wer" else "characters"
    rows = []
    for name, counts in [
        ("rare", rare.rare),
        ("common", rare.common),
        *((f"  {b.name}", b.counts) for b in rare.bins),
    ]:
        missed = counts.substitutions + counts.deletions
        rows.append([name, _rate(counts), _ratio(missed, counts.reference), *numbers(counts)])
    return Section(
        f"by training count: rare is below {rare.threshold}; {whole(rare.training_words)} training"
        f" {unit}, {whole(rare.training_types)} different",
        (unit, "rate", "missed", *COUNTS),
        rows,
    )


def _micro(card: Scorecard) -> Section:
    met = [m for m in card.micro if m.tally.occurrences or m.tally.claimed]
    rows = []
    for micro in met:
        tally = micro.tally
        recall = _ratio(tally.recognised, tally.occurrences)
        precision = _ratio(tally.confirmed, tally.claimed)
        rows.append([micro.name, _rate(micro.counts), recall, precision, *numbers(micro.counts)])
    notes = []
    for micro in met:
        if missed_most := micro.most_missed(8):
            shown = ", ".join(
                f"{term} ({tally.recognised} of {tally.occurrences})" for term, tally in missed_most
            )
            notes.append(f"{micro.name} missed most: {shown}")
    headings = ("class", "rate", "recall", "precision", *COUNTS)
    return Section("words that must be right", headings, rows, notes)


def _kinds(card: Scorecard) -> Section:
    headings = ["of CER's errors"] if card.metric == "cer" else ["of WER's errors", "of CER's"]
    rows = []
    for kind in card.kinds:
        both = (kind.word_share, kind.character_share)
        rows.append([kind.name, *(per_cent(share) for share in both[2 - len(headings) :])])
    return Section("errors as written that are only ...", ("kind", *headings), rows)


def _parts(evaluation: Evaluation) -> Iterable[Section]:
    by_character = evaluation.card is not None and evaluation.card.metric == "cer"
    for what, parts in evaluation.parts.items():
        rows = []
        for part in parts:
            word = [] if by_character else [_rate(part.score.words)]
            rows.append(
                [
                    part.name,
                    *word,
                    _rate(part.score.characters),
                    whole(len(part.score.utterances)),
                    whole(len(part.score.per_group("cer")[0])),
                ]
            )
        word_heading = () if by_character else ("WER",)
        yield Section(f"by {what}", (what, *word_heading, "CER", "utterances", "groups"), rows)


def _conditions(evaluation: Evaluation) -> Section:
    rows = [["as recorded", *_two(evaluation.adapted, evaluation.base)]]
    for condition in evaluation.conditions:
        rows.append([condition.name, *_two(condition.adapted, condition.base)])
    return Section(
        "the same clips through other channels",
        ("channel", "WER", "CER", "base WER", "base CER"),
        rows,
        ["noise:10 is pink noise at 10 dB; gsm is a telephone; opus:6 is 6 kbit/s"],
    )


def _two(adapted: Score, base: Score | None) -> list[str]:
    shown = [per_cent(adapted.wer), per_cent(adapted.cer)]
    return shown + (["", ""] if base is None else [per_cent(base.wer), per_cent(base.cer)])


def _also(evaluation: Evaluation) -> Section:
    rows = []
    for kept in evaluation.also:
        base = "" if kept.base is None else per_cent(kept.base.cer)
        change, p = "", ""
        if kept.paired is not None:
            points = 100 * kept.paired.difference
            change = f"{'+' if points > 0 else ''}{number(points)}"
            p = p_value(kept.paired.p_value).removeprefix("p").strip()
        cells = [base, per_cent(kept.adapted.cer), change, p, kept.verdict]
        rows.append([f"{kept.corpus.rpartition('/')[2]} ({kept.language})", *cells])
    return Section(
        "what should be kept: character error rate of base and adapted model",
        ("corpus", "base", "adapted", "points", "p", "verdict"),
        rows,
        ["kept: no difference at p < 0.05, paired by groups; few groups find no difference"],
    )


def _rate(counts: Counts) -> str:
    return per_cent(counts.rate) if counts.reference else "n/a"


def _ratio(part: int, of: int) -> str:
    return per_cent(part / of) if of else "n/a"
