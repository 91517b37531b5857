"""Error rates of rare and common words apart: what a total hides.

A recogniser that was trained on an hour of speech knows the hundred commonest words and may miss
every other. Words are sorted by how often they stand in the *training* text, normalised as the
score is:

* a reference word counts where its own training count puts it, as hit, substitution or deletion;
* an inserted word has no reference word, so it counts where the count of the *inserted* word puts
  it. So every word and every error of the corpus counts exactly once, and the bins add up to it.
  Recognisers that spell freely insert words that do not exist; these are "unseen" and raise its
  rate, which is why ``miss_rate`` (without insertions) stands beside it;
* rare are words with a training count below ``threshold``, the unseen ones (count 0) among them.

Under ``metric="cer"`` the same is done with characters: rare kanji instead of rare words.

Source: insertions as in D. Le et al., "Contextualized Streaming End-to-End Speech Recognition with
Trie-Based Deep Biasing and Shallow Fusion", Interspeech 2021 (B-WER and U-WER), and its published
scoring script, which also takes the class of an inserted word from the hypothesis.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xlasr.errors import DataError, UsageError
from xlasr.scoring.alignment import Counts
from xlasr.scoring.error_rates import Metric, Score, symbols
from xlasr.scoring.normalisers import normalise

RARE_BELOW = 5
"""Words with fewer occurrences in training are rare, unless another threshold is given."""
EDGES = (1, 2, 5, 10, 100, 1000)
"""Training counts at which a new bin begins; the first bin is "unseen"."""


@dataclass(frozen=True)
class CountBin:
    """The words whose training counts lie between two numbers.

    Attributes:
        low: Smallest training count of the bin.
        high: Largest; None in the last bin.
        types: Different words of the references in it.
        counts: Hits, substitutions and deletions of these words in the references, and insertions
            of such words.
    """

    low: int
    high: int | None
    types: int
    counts: Counts

    @property
    def name(self) -> str:
        """``unseen``, ``1``, ``2-4`` or ``1000+``."""
        if self.high is None:
            return f"{self.low}+"
        if self.high == 0:
            return "unseen"
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    @property
    def rate(self) -> float:
        """(S + D + I) / N, a ratio."""
        return self.counts.rate

    @property
    def miss_rate(self) -> float:
        """(S + D) / N: how often a word of this bin was not recognised; NaN where there is none."""
        return miss_rate(self.counts)


@dataclass(frozen=True)
class RareWords:
    """Rare and common words of a score.

    Attributes:
        metric: "wer" for words, "cer" for characters.
        threshold: Training count below which a word is rare.
        training_words: Running words of the training text.
        training_types: Different words of it.
        bins: By training count, "unseen" first. Their counts sum to the score's.
    """

    metric: Metric
    threshold: int
    training_words: int
    training_types: int
    bins: tuple[CountBin, ...]

    @property
    def unseen(self) -> Counts:
        """Words that training never showed."""
        return self.bins[0].counts

    @property
    def rare(self) -> Counts:
        """Words with a training count below the threshold, the unseen ones among them."""
        return sum((b.counts for b in self.bins if b.low < self.threshold), Counts())

    @property
    def common(self) -> Counts:
        """All other words."""
        return sum((b.counts for b in self.bins if b.low >= self.threshold), Counts())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; a rate that is not defined is null."""
        return {
            "metric": self.metric,
            "threshold": self.threshold,
            "training_words": self.training_words,
            "training_types": self.training_types,
            "unseen": _row(self.unseen),
            "rare": _row(self.rare),
            "common": _row(self.common),
            "bins": [
                {"name": b.name, "low": b.low, "high": b.high, "types": b.types, **_row(b.counts)}
                for b in self.bins
            ],
        }


def rare_words(
    score: Score,
    training: Iterable[str],
    threshold: int = RARE_BELOW,
    edges: Sequence[int] = EDGES,
    metric: Metric = "wer",
) -> RareWords:
    """Count hits and errors by how often a word stands in the training text.

    Args:
        score: What ``score`` returned.
        training: The training transcripts, as written; they go through the score's normaliser.
        threshold: A word is rare below so many occurrences, from 1 (then only unseen words are).
        edges: Training counts at which a bin begins, rising, from 1; the threshold becomes one.
        metric: "wer", or "cer" for the characters of scripts without spaces.

    Raises:
        DataError: The training text is empty.
        UsageError: ``threshold`` below 1, or ``edges`` that do not rise from 1 or more.
    """
    if threshold < 1:
        raise UsageError(
            f"rare is a training count below a threshold of 1 or more, got {threshold}"
        )
    if list(edges) != sorted(set(edges)) or any(edge < 1 for edge in edges):
        raise UsageError(f"edges must rise and begin at 1 or more, got {list(edges)}")
    seen: Counter[str] = Counter()
    for text in training:
        seen.update(symbols(normalise(text, score.normaliser), metric))
    if not seen:
        raise DataError("the training text has no words: nothing can be rare or common")
    starts = [0, *sorted({*edges, threshold})]
    tallies = [Counter[str]() for _ in starts]
    types: list[set[str]] = [set() for _ in starts]
    for utterance in score.utterances:
        for op in utterance.align(metric, score.costs):
            at = bisect_right(starts, seen[op.hyp if op.kind == "insertion" else op.ref]) - 1
            tallies[at][op.kind] += 1
            if op.ref:
                types[at].add(op.ref)
    bins = [
        CountBin(
            low,
            starts[i + 1] - 1 if i + 1 < len(starts) else None,
            len(types[i]),
            Counts(*(tallies[i][k] for k in ("hit", "substitution", "deletion", "insertion"))),
        )
        for i, low in enumerate(starts)
    ]
    return RareWords(metric, threshold, seen.total(), len(seen), tuple(bins))


def miss_rate(counts: Counts) -> float:
    """Return (S + D) / N, the share of reference symbols that were not recognised; NaN for none."""
    if not counts.reference:
        return math.nan
    return (counts.substitutions + counts.deletions) / counts.reference


def _row(counts: Counts) -> dict[str, Any]:
    missed = miss_rate(counts)
    return {
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "rate": counts.rate if counts.reference else None,
        "miss_rate": None if math.isnan(missed) else missed,
    }
