"""Honest scores: error rates by utterance id, with counts, intervals and a paired test. No torch.

=================  ============================================================================
file               what it does
=================  ============================================================================
alignment.py       ``align`` two sequences, ``Counts`` of hits, substitutions, deletions and
                   insertions; costs as jiwer (fewest errors) or as NIST sclite
normalisers.py     named normalisers: those of ``data.text``, and "unspaced" for scripts without
                   spaces
error_rates.py     ``score`` references against hypotheses by id: ``Score`` with WER, CER, corpus
                   and utterance counts, worst and best lines, JSON
bootstrap.py       ``paired`` test of two systems by groups; ``interval`` by percentiles, a peer of
                   what is reported
confidence.py      ``rate_interval``, ``difference`` and ``werr`` by bootstrap-t: what is reported,
                   right with few groups and few errors too
rare_words.py      rare, common and unseen words apart, by their training counts
micro.py           numbers, names and listed terms: recall, precision and WER of these words
breakdown.py       by duration, speaker, group, speech rate, SNR; substitution pairs, confusions
error_kinds.py     errors that are only diacritics, word boundaries, case or punctuation
japanese.py        CER, MeCab-spaced WER and CER by reading (extra ``japanese``)
files.py           transcripts from any recogniser: TSV, CSV, JSONL
scorecard.py       ``score_files``: all of it for two files, as ``xlasr score`` shows it
=================  ============================================================================
"""

from __future__ import annotations

from xlasr.scoring.bootstrap import PairedResult, interval, paired
from xlasr.scoring.confidence import RateInterval, difference, rate_interval, werr
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
    "RateInterval",
    "Score",
    "UtteranceScore",
    "align",
    "char_counts",
    "difference",
    "interval",
    "paired",
    "rate_interval",
    "score",
    "werr",
    "word_counts",
]
