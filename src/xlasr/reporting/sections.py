"""What stands below the headline, as tables of text: the same on the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xlasr.reporting.comparison import metrics_of
from xlasr.reporting.evaluation import KEPT_BELOW, Evaluation
from xlasr.reporting.formatting import number, p_value, per_cent, span, whole
from xlasr.scoring import Counts, Score, rate_interval
from xlasr.scoring.bootstrap import LEAST_GROUPS
from xlasr.scoring.confidence import FEW_GROUPS, ONE_VOICE
from xlasr.scoring.error_rates import Metric
from xlasr.scoring.rare_words import RareWords
from xlasr.scoring.scorecard import Scorecard

COUNTS = ("S", "D", "I", "N")
PAIRS = 12
"""Commonest substitutions that are shown."""


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
    """Return rare and common words, words that must be right, kinds of errors, substitutions."""
    sections = []
    if card.rare is not None:
        sections.append(_rare(card.rare))
    if any(m.tally.occurrences or m.tally.claimed for m in card.micro):
        sections.append(_micro(card))
    if any(kind.word_errors or kind.character_errors for kind in card.kinds):
        sections.append(_kinds(card))
    if card.pairs:
        rows = [[ref, hyp, whole(count)] for ref, hyp, count in card.pairs[:PAIRS]]
        sections.append(Section("commonest substitutions", ("said", "heard", "times"), rows))
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
    metrics = _words_first(evaluation.adapted)
    for at, (what, parts) in enumerate(evaluation.parts.items()):
        rows = []
        for part in parts:
            lines = whole(len(part.score.utterances))
            groups = whole(len(part.score.per_group("cer")[0]))
            rows.append([part.name, *_with_intervals(part.score, metrics), lines, groups])
        headings = (what.partition(",")[0], *_headings(metrics), "lines", "groups")
        told = f"95 % intervals over the groups of a part; rough below {FEW_GROUPS}, none below"
        notes = [] if at else [f"{told} {LEAST_GROUPS}"]
        yield Section(f"by {what}", headings, rows, notes)


def _words_first(score: Score) -> tuple[Metric, ...]:
    return metrics_of(score)[::-1]


def _headings(metrics: Iterable[Metric]) -> list[str]:
    return [heading for metric in metrics for heading in (metric.upper(), "95 %")]


def _with_intervals(score: Score, metrics: Iterable[Metric]) -> list[str]:
    cells = []
    for metric in metrics:
        ends = rate_interval(score, metric).ends
        cells += [_rate(score.counts(metric)), "" if ends[0] != ends[0] else span(ends, 0)]
    return cells


def _conditions(evaluation: Evaluation) -> Section:
    metrics = _words_first(evaluation.adapted)
    channels = [("as recorded", evaluation.adapted, evaluation.base)]
    channels += [(found.name, found.adapted, found.base) for found in evaluation.conditions]
    rows = []
    for name, adapted, base in channels:
        without = ["" if base is None else _rate(base.counts(metric)) for metric in metrics]
        rows.append([name, *_with_intervals(adapted, metrics), *without])
    return Section(
        "the same clips through other channels",
        ("channel", *_headings(metrics), *(f"base {metric.upper()}" for metric in metrics)),
        rows,
        ["noise:10 is pink noise at 10 dB; gsm is a telephone; opus:6 is 6 kbit/s"],
    )


def _also(evaluation: Evaluation) -> Section:
    rows, notes = [], []
    for kept in evaluation.also:
        base = "" if kept.base is None else per_cent(kept.base.cer)
        points, ends, p = "", "", ""
        if kept.paired is not None and kept.change is not None:
            found = 100 * kept.paired.difference
            points = f"{'+' if found > 0 else ''}{number(found)}"
            ends = "" if kept.change.method == "none" else span(kept.change.ends)
            p = p_value(kept.paired.p_value).removeprefix("p").strip()
        name = f"{kept.corpus.rpartition('/')[2]} ({kept.language})"
        verdict, _, more = kept.verdict.partition(" (")
        rows.append([name, base, per_cent(kept.adapted.cer), points, ends, p, verdict])
        if more:
            notes.append(f"{name}: {kept.verdict}")
        if kept.speakers == 1:
            notes.append(f"{name}: {ONE_VOICE}")
    return Section(
        "what should be kept: character error rate of base and adapted model",
        ("corpus", "base", "adapted", "points", "95 %", "p", "verdict"),
        rows,
        [
            *notes,
            "worse, better: p < 0.05 and an interval without 0, paired by groups; kept: the error"
            f" is below {KEPT_BELOW:g} times the base's at the interval's upper end",
        ],
    )


def _rate(counts: Counts) -> str:
    return per_cent(counts.rate) if counts.reference else "n/a"


def _ratio(part: int, of: int) -> str:
    return per_cent(part / of) if of else "n/a"
