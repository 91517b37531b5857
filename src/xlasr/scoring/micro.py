"""Micro-WER: numbers, names and listed terms, the words that a listener must get right.

A class of words has *occurrences*, in references and in hypotheses: single words for numbers and
names, one or more words for a listed term ("myocardial infarction"). For each class:

* ``counts``: hits, substitutions and deletions of the reference words that belong to occurrences,
  and as insertions the inserted hypothesis words that do. Its ``rate`` is the WER restricted to the
  class (B-WER in Le et al. 2021);
* ``recall``: occurrences of the references that were recognised whole, every word a hit and
  nothing put in between;
* ``precision``: occurrences of the hypotheses that are right in the same sense.

What belongs to a class:

numbers
    Words with a digit (Unicode N). "10" and "ten" are different words here, as in WER; list number
    words as terms if a corpus spells them out.
names
    Words that the *raw* references write with a capital in mid-sentence more often than without.
    In mid-sentence is what stands after another word with only spaces, commas or hyphens between;
    references all in capitals or all in small letters say nothing. A capital after an apostrophe
    counts too ("l'Italie"). Once found, a word is a name wherever it stands. In German, nouns are
    names by this rule, and scripts without capitals have none: give terms instead.
terms
    Listed, one in a line; the longest one counts where two begin at the same word.

For scripts without spaces ``metric="cer"`` looks for terms and runs of digits in the characters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlasr.errors import DataError
from xlasr.scoring.alignment import Counts, Op
from xlasr.scoring.error_rates import Metric, Score, symbols
from xlasr.scoring.normalisers import normalise

NOT_NAMES = frozenset({"i", "i'm", "i'll", "i've", "i'd"})
"""English writes these with a capital, and they are no names."""

_LETTERS = r"[^\W_](?:[^\W_]|[\u0300-\u036f])*"
_APOSTROPHE = "['\u2018\u2019\u02bc\uff07`\u00b4]"
_WORD = re.compile(f"{_LETTERS}(?:{_APOSTROPHE}{_LETTERS})*")
_JOINED = re.compile(r"[\s,\u2010\u2011-]+")

Span = tuple[int, int]
Find = Callable[[Sequence[str]], list[Span]]


@dataclass(frozen=True)
class Tally:
    """Occurrences of a class, or of one term.

    Attributes:
        occurrences: In the references.
        recognised: Of these, those that the hypothesis has whole and in place.
        claimed: Occurrences in the hypotheses.
        confirmed: Of these, those that stand in the reference, whole and in place.
    """

    occurrences: int = 0
    recognised: int = 0
    claimed: int = 0
    confirmed: int = 0

    @property
    def recall(self) -> float:
        """Recognised of the references' occurrences, a ratio; NaN where there are none."""
        return self.recognised / self.occurrences if self.occurrences else math.nan

    @property
    def precision(self) -> float:
        """Confirmed of the hypotheses' occurrences, a ratio; NaN where there are none."""
        return self.confirmed / self.claimed if self.claimed else math.nan

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.occurrences + other.occurrences,
            self.recognised + other.recognised,
            self.claimed + other.claimed,
            self.confirmed + other.confirmed,
        )


@dataclass(frozen=True)
class MicroScore:
    """How well one class of words was recognised.

    Attributes:
        name: "numbers", "names" or "terms".
        metric: "wer" for words, "cer" for characters.
        counts: Over the words of the class.
        by_term: Occurrences of each word or term that was met, by its normalised spelling.
    """

    name: str
    metric: Metric
    counts: Counts
    by_term: Mapping[str, Tally]

    @property
    def tally(self) -> Tally:
        """Occurrences of the whole class."""
        return sum(self.by_term.values(), Tally())

    @property
    def rate(self) -> float:
        """Error rate of these words, (S + D + I) / N, a ratio."""
        return self.counts.rate

    @property
    def recall(self) -> float:
        """Share of the references' occurrences that were recognised; NaN where there are none."""
        return self.tally.recall

    @property
    def precision(self) -> float:
        """Share of the hypotheses' occurrences that are right; NaN where there are none."""
        return self.tally.precision

    def most_missed(self, n: int = 10) -> list[tuple[str, Tally]]:
        """Return the terms with the most occurrences that were not recognised."""
        order = sorted(
            self.by_term.items(), key=lambda item: (item[1].recognised - item[1].occurrences, item)
        )
        return [(term, tally) for term, tally in order if tally.recognised < tally.occurrences][:n]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; a rate that is not defined is null."""
        tally = self.tally
        return {
            "name": self.name,
            "metric": self.metric,
            "hits": self.counts.hits,
            "substitutions": self.counts.substitutions,
            "deletions": self.counts.deletions,
            "insertions": self.counts.insertions,
            "rate": self.rate if self.counts.reference else None,
            "recall": self.recall if tally.occurrences else None,
            "precision": self.precision if tally.claimed else None,
            **vars(tally),
            "by_term": {term: vars(found) for term, found in sorted(self.by_term.items())},
        }


def score_numbers(score: Score, metric: Metric = "wer") -> MicroScore:
    """Score the words with a digit in them; under "cer" the runs of digits."""

    def runs(text: Sequence[str]) -> list[Span]:
        found: list[Span] = []
        for i, symbol in enumerate(text):
            if any(unicodedata.category(c)[0] == "N" for c in symbol):
                if metric == "cer" and found and found[-1][1] == i:
                    found[-1] = (found[-1][0], i + 1)
                else:
                    found.append((i, i + 1))
        return found

    return _score("numbers", score, metric, runs)


def score_names(score: Score, raw_references: Mapping[str, str]) -> MicroScore:
    """Score the words that the references write with a capital in mid-sentence.

    Args:
        score: What ``score`` returned, over words.
        raw_references: The references as written, by utterance id; may hold more ids.

    Raises:
        DataError: A raw reference is missing or is not the text that was scored.
    """
    texts = []
    for utterance in score.utterances:
        text = raw_references.get(utterance.id)
        if text is None or normalise(text, score.normaliser) != utterance.reference:
            found = "there is none" if text is None else f"it is {text!r}"
            raise DataError(
                f"utterance {utterance.id!r}: names need the reference as it was written before it"
                f" was scored as {utterance.reference!r}, and {found}"
            )
        texts.append(text)
    return score_terms(score, sorted(find_names(texts, score.normaliser)), name="names")


def score_terms(
    score: Score, terms: Iterable[str], name: str = "terms", metric: Metric = "wer"
) -> MicroScore:
    """Score listed terms.

    Args:
        score: What ``score`` returned.
        terms: Words or phrases; they go through the score's normaliser.
        name: Of the class.
        metric: "wer" finds terms as whole words, "cer" anywhere in the characters (for scripts
            without spaces).

    Raises:
        DataError: A term has nothing left after normalisation.
    """
    by_first: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for term in terms:
        content = tuple(symbols(normalise(term, score.normaliser), metric))
        if not content:
            raise DataError(
                f"the term {term!r} has no letter or digit that normaliser"
                f" {score.normaliser!r} keeps. Take it off the list."
            )
        by_first[content[0]].add(content)
    longest_first = {first: sorted(found, key=len)[::-1] for first, found in by_first.items()}

    def find(text: Sequence[str]) -> list[Span]:
        spans: list[Span] = []
        at = 0
        while at < len(text):
            for term in longest_first.get(text[at], ()):
                if tuple(text[at : at + len(term)]) == term:
                    spans.append((at, at + len(term)))
                    at += len(term) - 1
                    break
            at += 1
        return spans

    return _score(name, score, metric, find)


def find_names(raw_texts: Iterable[str], normaliser: str = "headline") -> set[str]:
    """Return the words (normalised) that texts write with a capital in mid-sentence.

    Args:
        raw_texts: As written, with case and punctuation.
        normaliser: That the words go through.
    """
    capital: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for text in raw_texts:
        composed = unicodedata.normalize("NFC", text)
        if composed in (composed.upper(), composed.lower()):
            continue  # written without the distinction
        end = None
        for match in _WORD.finditer(composed):
            middle = end is not None and _JOINED.fullmatch(composed, end, match.start())
            end = match.end()
            if middle:
                parts = re.split(_APOSTROPHE, match.group())
                tally = capital if any(part[0].isupper() for part in parts) else small
                tally.update(normalise(match.group(), normaliser).split())
    return {word for word, n in capital.items() if n > small[word] and word not in NOT_NAMES}


def _score(name: str, score: Score, metric: Metric, find: Find) -> MicroScore:
    total = Counts()
    tallies: dict[str, Tally] = defaultdict(Tally)
    for utterance in score.utterances:
        ref, hyp = (symbols(t, metric) for t in (utterance.reference, utterance.hypothesis))
        wanted, claimed = find(ref), find(hyp)
        if not wanted and not claimed:
            continue
        ops = utterance.align(metric, score.costs)
        of_ref = [column for column, op in enumerate(ops) if op.kind != "insertion"]
        of_hyp = [column for column, op in enumerate(ops) if op.kind != "deletion"]
        inside = [ops[of_ref[i]].kind for span in wanted for i in range(*span)]
        added = [ops[of_hyp[i]].kind for span in claimed for i in range(*span)]
        total += Counts(
            inside.count("hit"),
            inside.count("substitution"),
            inside.count("deletion"),
            added.count("insertion"),
        )
        space = " " if metric == "wer" else ""
        for span in wanted:
            tallies[space.join(ref[slice(*span)])] += Tally(1, int(_whole(ops, of_ref, span)))
        for span in claimed:
            right = int(_whole(ops, of_hyp, span))
            tallies[space.join(hyp[slice(*span)])] += Tally(claimed=1, confirmed=right)
    return MicroScore(name, metric, total, dict(tallies))


def _whole(ops: Sequence[Op], columns: Sequence[int], span: Span) -> bool:
    """Whether the symbols of a span are hits with nothing in between."""
    first, last = columns[span[0]], columns[span[1] - 1]
    return all(op.kind == "hit" for op in ops[first : last + 1])
