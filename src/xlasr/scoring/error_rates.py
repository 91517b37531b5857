"""Word and character error rates of a set of utterances, by id, with counts.

What is compared, exactly:

* both texts are normalised by the named rule first ("headline" drops case and punctuation, "raw"
  does not, "unspaced" drops spaces too); the result is what ``UtteranceScore`` keeps;
* words are what stands between white space; characters are Unicode code points after NFC, the
  single spaces between words counted as characters (as jiwer counts them);
* under "phones" the texts are phones with spaces between them, and a phone is a symbol of both
  metrics: CER and WER are the phone error rate (PER);
* a corpus rate is errors of all utterances / reference symbols of all utterances, never a mean of
  rates;
* rates are ratios: 1.25 is 125 %. Per cent is for print only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xlasr.data.text import NORMALISER_VERSION
from xlasr.errors import DataError
from xlasr.scoring.alignment import Costs, Counts, Op, align, count
from xlasr.scoring.normalisers import normalise, version

Metric = Literal["wer", "cer"]

__all__ = [
    "Costs",
    "Counts",
    "Metric",
    "Op",
    "Score",
    "UtteranceScore",
    "align",
    "char_counts",
    "score",
    "symbols",
    "word_counts",
]


def symbols(text: str, metric: Metric) -> Sequence[str]:
    """Return what a metric counts in a normalised text: its words, or its characters."""
    return text.split() if metric == "wer" else text


def word_counts(reference: str, hypothesis: str, costs: Costs = "levenshtein") -> Counts:
    """Count the word errors of one pair of texts, taken as they are (nothing is normalised)."""
    return count(reference.split(), hypothesis.split(), costs)


def char_counts(reference: str, hypothesis: str, costs: Costs = "levenshtein") -> Counts:
    """Count the character errors of one pair of texts, taken as they are, spaces included."""
    return count(reference, hypothesis, costs)


@dataclass(frozen=True, slots=True)
class UtteranceScore:
    """One scored utterance.

    Attributes:
        id: Its id in the corpus.
        group: What is resampled together: its scene, prompt, speaker or recording.
        reference: Normalised reference.
        hypothesis: Normalised hypothesis.
        words: Counts over words.
        characters: Counts over characters.
    """

    id: str
    group: str
    reference: str
    hypothesis: str
    words: Counts
    characters: Counts

    @property
    def wer(self) -> float:
        """Word error rate, a ratio; infinite for words where the reference has none."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate, a ratio; infinite likewise."""
        return self.characters.rate

    def counts(self, metric: Metric) -> Counts:
        """Counts behind "wer" or "cer"."""
        return self.words if metric == "wer" else self.characters

    def align(self, metric: Metric = "wer", costs: Costs = "levenshtein") -> list[Op]:
        """Align its words ("wer") or characters ("cer")."""
        return align(symbols(self.reference, metric), symbols(self.hypothesis, metric), costs)


@dataclass(frozen=True)
class Score:
    """The score of a set of utterances.

    Attributes:
        utterances: One entry per utterance, in the order of the references.
        words: Corpus counts over words.
        characters: Corpus counts over characters.
        normaliser: Name of the rule that both texts went through.
        normaliser_version: Its version.
        costs: Costs of the alignment.
    """

    utterances: tuple[UtteranceScore, ...]
    words: Counts
    characters: Counts
    normaliser: str = "headline"
    normaliser_version: int = NORMALISER_VERSION
    costs: Costs = "levenshtein"

    @property
    def wer(self) -> float:
        """Corpus word error rate, a ratio."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Corpus character error rate, a ratio."""
        return self.characters.rate

    def counts(self, metric: Metric) -> Counts:
        """Corpus counts behind "wer" or "cer"."""
        return self.words if metric == "wer" else self.characters

    def per_group(self, metric: Metric) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Sum errors and reference symbols by group.

        Returns:
            The groups' names, sorted, and an array (n_groups, 2) of (errors, reference symbols).
        """
        totals: dict[str, list[int]] = {}
        for utterance in self.utterances:
            total = totals.setdefault(utterance.group, [0, 0])
            total[0] += utterance.counts(metric).errors
            total[1] += utterance.counts(metric).reference
        names = sorted(totals)
        table = np.array([totals[name] for name in names], dtype=np.int64).reshape(-1, 2)
        return names, table

    def subset(self, ids: Collection[str]) -> Score:
        """Return the score of some of its utterances, those whose id is in ``ids``."""
        kept = tuple(u for u in self.utterances if u.id in ids)
        words, characters = _sum(u.words for u in kept), _sum(u.characters for u in kept)
        return replace(self, utterances=kept, words=words, characters=characters)

    def worst(self, n: int = 10, metric: Metric = "cer") -> list[UtteranceScore]:
        """Return the ``n`` utterances with the highest rate; among equals the most errors first.

        A rate over 1 is usually a loop or a hallucination; an infinite one is speech found where
        the reference is empty.
        """
        return sorted(
            self.utterances, key=lambda u: (-u.counts(metric).rate, -u.counts(metric).errors, u.id)
        )[:n]

    def best(self, n: int = 10, metric: Metric = "cer") -> list[UtteranceScore]:
        """Return the ``n`` utterances with the lowest rate; among equals the longest first."""
        return sorted(
            self.utterances,
            key=lambda u: (u.counts(metric).rate, -u.counts(metric).reference, u.id),
        )[:n]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; ``from_dict`` reads them. An infinite rate is null."""
        return {
            "normaliser": self.normaliser,
            "normaliser_version": self.normaliser_version,
            "costs": self.costs,
            "wer": _finite(self.wer),
            "cer": _finite(self.cer),
            "words": _counts_dict(self.words),
            "characters": _counts_dict(self.characters),
            "utterances": [
                {
                    "id": u.id,
                    "group": u.group,
                    "reference": u.reference,
                    "hypothesis": u.hypothesis,
                    "words": _counts_dict(u.words),
                    "characters": _counts_dict(u.characters),
                }
                for u in self.utterances
            ],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Score:
        """Read what ``to_dict`` wrote; corpus counts are summed again.

        Raises:
            DataError: Fields are missing or wrong, or the saved corpus counts are not the sum.
        """
        try:
            utterances = tuple(
                UtteranceScore(
                    str(u["id"]),
                    str(u["group"]),
                    str(u["reference"]),
                    str(u["hypothesis"]),
                    _counts_of(u["words"]),
                    _counts_of(u["characters"]),
                )
                for u in content["utterances"]
            )
            costs: Costs = "sclite" if content["costs"] == "sclite" else "levenshtein"
            read = cls(
                utterances,
                _sum(u.words for u in utterances),
                _sum(u.characters for u in utterances),
                str(content["normaliser"]),
                int(content["normaliser_version"]),
                costs,
            )
            saved = (_counts_of(content["words"]), _counts_of(content["characters"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a saved score is damaged ({type(error).__name__}: {error}). Evaluate again."
            ) from error
        if saved != (read.words, read.characters):
            raise DataError(
                f"a saved score is damaged: its corpus counts {saved} are not the sum of its"
                f" utterances {(read.words, read.characters)}. Evaluate again."
            )
        return read


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    normaliser: str = "headline",
    costs: Costs = "levenshtein",
) -> Score:
    """Score hypotheses against references, matched by utterance id.

    Args:
        references: Text by id.
        hypotheses: Text by id; exactly the same ids. A recogniser that says nothing gives "".
        groups: Group by id, for intervals; may hold more ids. None: every utterance is its own
            group.
        normaliser: A name of ``xlasr.scoring.normalisers.NORMALISERS``.
        costs: "levenshtein" (equal to jiwer) or "sclite" (equal to NIST sclite; slow on
            characters).

    Raises:
        DataError: No references, or ids that are on one side only; they are named.
        UnknownName: No such normaliser.
    """
    if not references:
        raise DataError("nothing to score: there are no references")
    _same_ids(references, hypotheses, groups)
    utterances = []
    for key, text in references.items():
        ref, hyp = normalise(text, normaliser), normalise(hypotheses[key], normaliser)
        utterances.append(
            UtteranceScore(
                key,
                key if groups is None else groups[key],
                ref,
                hyp,
                word_counts(ref, hyp, costs),
                (word_counts if normaliser == "phones" else char_counts)(ref, hyp, costs),
            )
        )
    return Score(
        tuple(utterances),
        _sum(u.words for u in utterances),
        _sum(u.characters for u in utterances),
        normaliser,
        version(normaliser),
        costs,
    )


def _same_ids(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    groups: Mapping[str, str] | None,
) -> None:
    problems = []
    if missing := [key for key in references if key not in hypotheses]:
        problems.append(f"{len(missing)} without a hypothesis: {_some(missing)}")
    if extra := [key for key in hypotheses if key not in references]:
        problems.append(f"{len(extra)} hypotheses without a reference: {_some(extra)}")
    if groups is not None and (lost := [key for key in references if key not in groups]):
        problems.append(f"{len(lost)} without a group: {_some(lost)}")
    if problems:
        raise DataError(
            f"the utterance ids do not match ({len(references)} references,"
            f" {len(hypotheses)} hypotheses); " + "; ".join(problems) + "."
            " Give every reference exactly one hypothesis; one that is empty is ''."
        )


def _some(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _sum(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _finite(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None


def _counts_dict(counts: Counts) -> dict[str, int]:
    return {
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
    }


def _counts_of(content: Mapping[str, Any]) -> Counts:
    numbers = [content[k] for k in ("hits", "substitutions", "deletions", "insertions")]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"counts must be whole numbers from 0, found {numbers}")
    return Counts(*numbers)
