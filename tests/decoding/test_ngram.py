"""The language model against hand-computed numbers and the textbook formula, written plainly."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.decoding.ngram import NGram, build
from xlasr.errors import DataError, UsageError

texts = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=12)


class Plain:
    """Modified Kneser-Ney as Chen & Goodman write it: dictionaries and recursion."""

    def __init__(self, sequences: list[list[int]], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        before: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for sequence in sequences:
            padded = (vocab_size + 1, *sequence, vocab_size)
            for n in range(1, order + 1):
                for i in range(len(padded) - n + 1):
                    gram = padded[i : i + n]
                    raw[n][gram] += 1
                    before[gram[1:]].add(gram[0])
        self.counts: list[dict[tuple[int, ...], int]] = [{}]
        for n in range(1, order + 1):
            self.counts.append(
                {
                    g: c if n == order or g[0] == vocab_size + 1 else len(before[g])
                    for g, c in raw[n].items()
                    if g != (vocab_size + 1,)
                }
            )
        self.discounts = [self.estimate(level) for level in self.counts]

    @staticmethod
    def estimate(level: dict[tuple[int, ...], int]) -> list[float]:
        n = [sum(c == k for c in level.values()) for k in range(5)]
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            d = [0.0, *(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))]
            if min(d[1:]) > 0:
                return d
        return [0.0, 0.5, 1.0, 1.5]

    def probability(self, context: tuple[int, ...], token: int) -> float:
        n = len(context) + 1
        level, d = self.counts[n], self.discounts[n]
        rows = {g: c for g, c in level.items() if g[:-1] == context}
        lower = self.probability(context[1:], token) if context else 1.0 / (self.vocab_size + 1)
        if not rows:
            return lower
        total = sum(rows.values())
        left = sum(d[min(c, 3)] for c in rows.values())
        count = rows.get((*context, token), 0)
        return max(count - d[min(count, 3)], 0) / total + left / total * lower

    def log_probability(self, sequence: list[int]) -> float:
        padded = (self.vocab_size + 1, *sequence, self.vocab_size)
        return sum(
            log(self.probability(padded[max(0, i - self.order + 1) : i], padded[i]))
            for i in range(1, len(padded))
        )


def test_hand_computed() -> None:
    a, b, end = 0, 1, 2
    lm = build([[a, a, b]], order=2, vocab_size=2)
    # bigrams, once each: (start a) (a a) (a b) (b end); too few to estimate: D = .5, 1, 1.5
    # tokens before: a 2 {start, a}, b 1, end 1: what is left for uniform is (1 + .5 + .5) / 4
    p_a = (2 - 1) / 4 + 0.5 / 3
    p_b = p_end = (1 - 0.5) / 4 + 0.5 / 3
    _, after_a = lm.score(lm.start(), a)
    expected = {
        a: (1 - 0.5) / 2 + 0.5 * p_a,
        b: (1 - 0.5) / 2 + 0.5 * p_b,
        end: 0.5 * p_end,
    }
    for token, p in expected.items():
        assert exp(lm.score(after_a, token)[0]) == pytest.approx(p, rel=1e-6)
    assert exp(lm.finish(after_a)) == pytest.approx(expected[end], rel=1e-6)


@given(texts, st.integers(1, 5), st.lists(st.integers(0, 4), max_size=8))
@settings(max_examples=60, deadline=None)
def test_equal_to_the_plain_formula(
    sequences: list[list[int]], order: int, asked: list[int]
) -> None:
    lm, plain = build(sequences, order, 5), Plain(sequences, order, 5)  # token 4 is never seen
    assert lm.log_probability(asked) == pytest.approx(plain.log_probability(asked), abs=1e-4)


def test_equal_where_discounts_are_estimated() -> None:
    rng = np.random.default_rng(0)
    sequences = [
        np.minimum(rng.zipf(1.5, size=rng.integers(1, 30)) - 1, 29).tolist() for _ in range(120)
    ]
    lm, plain = build(sequences, 4, 30), Plain(sequences, 4, 30)
    assert sum(d != [0.0, 0.5, 1.0, 1.5] for d in plain.discounts[1:]) >= 2
    for sequence in [*sequences[:5], [3, 29, 0, 0, 17, 1]]:
        assert lm.log_probability(sequence) == pytest.approx(
            plain.log_probability(sequence), abs=1e-4
        )
    total = sum(plain.log_probability(s) for s in sequences[:20])
    count = sum(len(s) + 1 for s in sequences[:20])
    assert lm.perplexity(sequences[:20]) == pytest.approx(exp(-total / count), rel=1e-5)


@given(texts, st.integers(1, 6), st.lists(st.integers(0, 4), max_size=8))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one(
    sequences: list[list[int]], order: int, history: list[int]
) -> None:
    lm = build(sequences, order, 5)
    state = lm.start()
    for token in [*history, None]:
        assert sum(exp(lm.score(state, t)[0]) for t in range(6)) == pytest.approx(1, abs=1e-5)
        if token is not None:
            state = lm.score(state, token)[1]


def test_states_forget_what_does_not_matter() -> None:
    lm = build([[0, 1, 2, 3], [3, 2, 1, 0]], order=3, vocab_size=6)

    def after(*tokens: int) -> int:
        state = lm.start()
        for token in tokens:
            state = lm.score(state, token)[1]
        return state

    assert after(2, 0, 1) == after(0, 0, 1) == after(5, 0, 1)
    assert after(0, 1, 2) == after(5, 1, 2)  # a whole trigram is longer than any context
    assert after(0, 1) != after(2, 1)
    assert after(5) == after(4)


def test_saved_and_loaded(tmp_path: Path) -> None:
    lm = build([[0, 1, 2], [2, 1]], 3, 4)
    path = tmp_path / "lm.npz"
    lm.save(path)
    loaded = NGram.load(path)
    assert (loaded.order, loaded.vocab_size, len(loaded)) == (3, 4, len(lm))
    for text in ([], [0], [2, 1, 0, 3]):
        assert loaded.log_probability(text) == lm.log_probability(text)
    assert [p.name for p in tmp_path.iterdir()] == ["lm.npz"]


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.npz"
    build([[0, 1, 2], [2, 1]], 3, 4).save(path)
    with np.load(path) as file:
        tables = dict(file)
    whole = path.read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match):
            NGram.load(path)

    path.write_bytes(whole[: len(whole) // 2])
    refused("not a readable")
    path.write_text("no numbers here")
    refused("not a readable")
    np.savez(path, **{**tables, "header": np.array([99, 3, 4])})
    refused("format")
    np.savez(path, **{**tables, "keys": tables["keys"][::-1]})
    refused("damaged")
    np.savez(path, **{**tables, "suffix": tables["suffix"] + 100})
    refused("damaged")
    np.savez(path, **{**tables, "keys": np.array([{}], dtype=object)})  # a pickle inside
    refused("not a readable")
    with path.open("wb") as plain:
        np.save(plain, tables["keys"])  # one array, not an archive
    refused("not a readable")
    path.unlink()
    refused("not a readable")


def test_bad_calls_are_refused() -> None:
    with pytest.raises(DataError, match="at least one text"):
        build([], 3, 4)
    with pytest.raises(DataError, match="text 1 holds token 0 to 4"):
        build([[1], [0, 4]], 3, 4)
    with pytest.raises(UsageError, match="at least 1"):
        build([[1]], 0, 4)
    with pytest.raises(UsageError, match="outside"):
        build([[1]], 2, 4).score(0, 5)
    with pytest.raises(DataError, match="at least one text"):
        build([[1]], 2, 4).perplexity([])
