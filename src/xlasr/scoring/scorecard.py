"""All that references and hypotheses say: what ``xlasr score`` and ``evaluate`` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlasr.errors import DataError, UnknownName, UsageError
from xlasr.scoring.alignment import COSTS, Costs
from xlasr.scoring.breakdown import substitutions
from xlasr.scoring.confidence import RateInterval, rate_interval, werr
from xlasr.scoring.error_kinds import ErrorKind, error_kinds
from xlasr.scoring.error_rates import Metric, Score, score
from xlasr.scoring.files import read_list, read_training, read_transcripts
from xlasr.scoring.japanese import JapaneseScore, is_japanese, score_japanese
from xlasr.scoring.micro import MicroScore, score_names, score_numbers, score_terms
from xlasr.scoring.normalisers import headline_for
from xlasr.scoring.rare_words import RARE_BELOW, RareWords, rare_words

N_PAIRS = 200
"""Substitution pairs that are kept."""


@dataclass(frozen=True)
class Scorecard:
    """What a reference and a hypothesis file say.

    Attributes:
        score: Under the normaliser; WER means nothing where ``metric`` is "cer".
        raw: The same texts as written.
        metric: What the headline is: "wer" and "cer", or "cer" alone for scripts without spaces.
        unit: What the intervals resample: the group column's name, or "utterances".
        wer: WER and its interval; None for scripts without spaces.
        cer: CER and its interval.
        japanese: The three Japanese scores; None for other languages or without the extra.
        kinds: Errors that are only diacritics, word boundaries, case or punctuation, as written.
        micro: Numbers, names (for words) and listed terms.
        rare: By training count; None without a training text.
        pairs: Commonest substitutions, over ``metric``'s symbols.
        reductions: WERR and CERR over another system, by metric; empty without one.
        notes: What a person should know.
    """

    score: Score
    raw: Score
    metric: Metric
    unit: str
    wer: RateInterval | None
    cer: RateInterval
    japanese: JapaneseScore | None
    kinds: list[ErrorKind]
    micro: list[MicroScore]
    rare: RareWords | None
    pairs: list[tuple[str, str, int]]
    reductions: dict[Metric, RateInterval]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types; a rate that is not defined is null."""
        raw = self.raw.to_dict()
        raw.pop("utterances")
        return {
            "headline": self.metric,
            "unit": self.unit,
            "wer": None if self.wer is None else self.wer.to_dict(),
            "cer": self.cer.to_dict(),
            "notes": self.notes,
            "raw": raw,
            "japanese": None if self.japanese is None else self.japanese.to_dict(),
            "error_kinds": [kind.to_dict() for kind in self.kinds],
            "micro": [found.to_dict() for found in self.micro],
            "rare_words": None if self.rare is None else self.rare.to_dict(),
            "substitutions": [{"ref": r, "hyp": h, "count": n} for r, h, n in self.pairs],
            "reductions": {metric: found.to_dict() for metric, found in self.reductions.items()},
            "score": self.score.to_dict(),
        }


def score_files(
    reference: str | Path,
    hypothesis: str | Path,
    *,
    normaliser: str | None = None,
    terms: str | Path | None = None,
    training: str | Path | None = None,
    rare_below: int = RARE_BELOW,
    against: str | Path | None = None,
    costs: Costs = "levenshtein",
    reference_columns: Mapping[str, str] | None = None,
    hypothesis_columns: Mapping[str, str] | None = None,
) -> Scorecard:
    """Score a file of hypotheses from any recogniser against a file of references.

    Args:
        reference: TSV, CSV or JSONL with id, text and, for intervals, a group.
        hypothesis: TSV, CSV or JSONL with exactly the same ids.
        normaliser: "headline", "raw" or "unspaced"; None chooses "unspaced" for references in a
            script without spaces and "headline" for all others.
        terms: Text file of terms, one in a line.
        training: Training transcripts, for rare and common words.
        rare_below: Words with a lower training count are rare.
        against: Hypotheses of another system: adds the error rate reduction over it.
        costs: "levenshtein" (as jiwer) or "sclite" (as NIST sclite, and slow).
        reference_columns: Field -> column of ``reference``; the rest is guessed.
        hypothesis_columns: Likewise, of ``hypothesis`` and ``against``.

    Raises:
        DataError: A file cannot be used, or an id is on one side only; both are named.
        UsageError: An unknown field, normaliser or kind of costs, or ``rare_below`` below 1.
    """
    if costs not in COSTS:
        raise UnknownName("kind of costs", costs, COSTS)
    ref = read_transcripts(Path(reference), "reference", reference_columns)
    hyp = read_transcripts(Path(hypothesis), "hypothesis", hypothesis_columns)
    other = None
    if against is not None:
        other = read_transcripts(Path(against), "hypothesis", hypothesis_columns)
    try:
        return make_scorecard(
            ref.texts,
            hyp.texts,
            ref.groups,
            unit="utterances" if ref.groups is None else ref.columns["group"],
            normaliser=normaliser,
            terms=None if terms is None else read_list(Path(terms)),
            training=None if training is None else read_training(Path(training)),
            rare_below=rare_below,
            against=None if other is None else other.texts,
            costs=costs,
        )
    except DataError as error:
        wrong = hypothesis if other is None or hyp.texts.keys() != ref.texts.keys() else against
        raise DataError(f"{reference} and {wrong}: {error}") from error


def make_scorecard(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    groups: Mapping[str, str] | None,
    *,
    unit: str,
    normaliser: str | None = None,
    terms: Sequence[str] | None = None,
    training: Sequence[str] | None = None,
    rare_below: int = RARE_BELOW,
    against: Mapping[str, str] | None = None,
    costs: Costs = "levenshtein",
    speakers: int | None = None,
) -> Scorecard:
    """Say all that references and hypotheses say.

    Args:
        references: Text by utterance id, as written.
        hypotheses: Likewise, with exactly the same ids.
        groups: Group by utterance id (scene, speaker, recording); None resamples utterances.
        unit: What a group is, for print.
        normaliser: As for ``score_files``.
        terms: Terms to look at.
        training: Lines of training text, for rare and common words.
        rare_below: Words with a lower training count are rare.
        against: Hypotheses of another system.
        costs: As for ``score_files``.
        speakers: How many different speakers there are; None or 0 is not known.

    Raises:
        DataError: An id is on one side only.
        UsageError: An unknown normaliser, or ``rare_below`` below 1.
    """
    usual = headline_for(references.values())
    name = normaliser or usual
    metric: Metric = "cer" if "unspaced" in (usual, name) else "wer"
    scored = score(references, hypotheses, groups, name, costs)
    raw = scored if name == "raw" else score(references, hypotheses, groups, "raw", costs)
    notes = []
    if metric == "cer":
        notes.append(
            "no spaces between words in this script: CER is the headline, WER has no words"
        )
    if name == "phones":
        notes.append("the texts are phones: CER and WER are both the phone error rate (PER)")
    japanese = None
    if metric == "cer" and is_japanese(references.values()):
        try:
            japanese = score_japanese(references, hypotheses, groups, costs)
        except UsageError as error:
            notes.append(str(error))
    micro = [score_numbers(scored, metric)]
    if metric == "wer":
        micro.append(score_names(scored, references))
    if terms is not None:
        micro.append(score_terms(scored, terms, metric=metric))
    reductions: dict[Metric, RateInterval] = {}
    if against is not None:
        base = score(references, against, groups, name, costs)
        both: tuple[Metric, ...] = ("cer",) if metric == "cer" else ("wer", "cer")
        reductions = {m: werr(base, scored, m) for m in both}
    return Scorecard(
        score=scored,
        raw=raw,
        metric=metric,
        unit=unit,
        wer=None if metric == "cer" else rate_interval(scored, "wer", speakers=speakers),
        cer=rate_interval(scored, "cer", speakers=speakers),
        japanese=japanese,
        kinds=error_kinds(raw, "headline" if name == "raw" else name),
        micro=micro,
        rare=None if training is None else rare_words(scored, training, rare_below, metric=metric),
        pairs=substitutions(scored, metric, N_PAIRS),
        reductions=reductions,
        notes=notes,
    )
