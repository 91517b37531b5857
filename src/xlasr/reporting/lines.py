"""Which lines a report shows, and how reference and hypothesis stand above each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

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
    if score.normaliser == "unspaced":
        return "cer"
    words, characters = score.words.reference, score.characters.reference
    return "cer" if characters > 12 * words and words <= 1.5 * len(score.utterances) else "wer"


def lines(utterances: Sequence[UtteranceScore], base: Score | None, metric: Metric) -> list[Line]:
    """Align utterances and put the base's beside them."""
    before = {} if base is None else {u.id: u for u in base.utterances}
    found = []
    for u in utterances:
        if metric == "cer":
            ops = joined(u.align("cer"))
        else:
            ops = align_for_reading(u.reference.split(), u.hypothesis.split())
        found.append(Line(u, ops, before.get(u.id)))
    return found


def align_for_reading(ref: Sequence[str], hyp: Sequence[str]) -> list[Op]:
    """Align words with the fewest errors and, among such alignments, the most alike pairs.

    Scoring takes any alignment with the fewest errors; a reader wants "lod" under "loď" and not
    under its neighbour. The number of errors is the scored one; which of them are substitutions
    may differ.
    """
    far = 100  # what a pair with no letter in common costs, beside its error
    error = far * (len(ref) + len(hyp) + 1)  # one error more outweighs any likeness
    row = [error * j for j in range(len(hyp) + 1)]
    steps = ["i" * len(row)]
    for word in ref:
        new, came = [row[0] + error], ["d"]
        for j, heard in enumerate(hyp, 1):
            unlike = 0 if word == heard else error
            if unlike:
                unlike += round(far * Levenshtein.normalized_distance(word, heard))
            best = min((row[j - 1] + unlike, "s"), (row[j] + error, "d"), (new[-1] + error, "i"))
            new.append(best[0])
            came.append(best[1])
        row = new
        steps.append("".join(came))
    ops: list[Op] = []
    i, j = len(ref), len(hyp)
    while i or j:
        step = steps[i][j]
        i, j = i - (step != "i"), j - (step != "d")
        if step == "s":
            ops.append(Op("hit" if ref[i] == hyp[j] else "substitution", ref[i], hyp[j]))
        else:
            ops.append(Op("deletion", ref[i], "") if step == "d" else Op("insertion", "", hyp[j]))
    return ops[::-1]


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
