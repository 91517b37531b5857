"""Honest scores: error rates by utterance id, with counts, intervals and a paired test. No torch.

=================  ============================================================================
file               what it does
=================  ============================================================================
alignment.py       ``align`` two sequences, ``Counts`` of hits, substitutions, deletions and
                   insertions; costs as jiwer (fewest errors) or as NIST sclite
error_rates.py     ``score`` references against hypotheses by id: ``Score`` with WER, CER, corpus
                   and utterance counts, worst and best lines, JSON
bootstrap.py       ``interval`` of a rate and ``paired`` test of two systems, by groups
=================  ============================================================================
"""

from __future__ import annotations

from xlasr.scoring.bootstrap import PairedResult, interval, paired, score_interval
from xlasr.scoring.error_rates import (
    Counts,
    Op,
    Score,
    UtteranceScore,
    align,
    char_counts,
    score,
    word_counts,
)

__all__ = [
    "Counts",
    "Op",
    "PairedResult",
    "Score",
    "UtteranceScore",
    "align",
    "char_counts",
    "interval",
    "paired",
    "score",
    "score_interval",
    "word_counts",
]
