"""Which lines a report shows, and how reference and hypothesis stand above each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from xlasr.scoring import Op, Score, UtteranceScore
from xlasr.scoring.error_rates import Metric


@dataclass(frozen=True)
class Line:
    """One line of a report.

    Attributes:
        utterance: The adapted model's.
        ops: Its alignment; over characters, runs of equal kind are joined.
        base: What the base made of it; None without a base.
    """

    utterance: UtteranceScore
    ops: list[Op]
    base: UtteranceScore | None


def alignment_metric(score: Score) -> Metric:
    """Return what to align: words, or characters where the script does without spaces.

    Judged by the references: over 12 characters a word, and hardly more words than lines.
    """
    words, characters = score.words.reference, score.characters.reference
    return "cer" if characters > 12 * words and words <= 1.5 * len(score.utterances) else "wer"


def lines(utterances: Sequence[UtteranceScore], base: Score | None, metric: Metric) -> list[Line]:
    """Align utterances and put the base's beside them."""
    before = {} if base is None else {u.id: u for u in base.utterances}
    return [
        Line(u, joined(u.align(metric)) if metric == "cer" else u.align(metric), before.get(u.id))
        for u in utterances
    ]


def sample(score: Score, n: int) -> list[UtteranceScore]:
    """Return a fair sample, from good to bad: chosen by a hash of the id, so nobody picked it."""
    chosen = sorted(score.utterances, key=lambda u: hashlib.sha256(u.id.encode()).digest())[:n]
    return sorted(chosen, key=lambda u: (u.cer, u.id))


def joined(ops: Sequence[Op]) -> list[Op]:
    """Join neighbouring columns of the same kind into one."""
    found: list[Op] = []
    for op in ops:
        if found and found[-1].kind == op.kind:
            found[-1] = Op(op.kind, found[-1].ref + op.ref, found[-1].hyp + op.hyp)
        else:
            found.append(op)
    return found
