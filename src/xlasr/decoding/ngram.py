"""An n-gram language model over token ids: interpolated modified Kneser-Ney.

Built in numpy, stored as a flat trie, asked one token at a time by the beams. Tokens are letters
or BPE pieces, as the acoustic model has them.
"""

from __future__ import annotations

import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xlasr.errors import DataError, UsageError

FORMAT_VERSION = 1
_CACHE_LIMIT = 1_000_000  # remembered answers; about 100 MB

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class NGram:
    """The model; make it with ``build`` or ``NGram.load``.

    Node 0 of the trie is the empty context. Node i > 0 is an n-gram; nodes of one order lie
    together, shorter ones first, so ``keys`` (context node * base + token) is sorted as a whole.
    Probabilities are stored interpolated, as in ARPA files: p(w | context) is ``log_prob`` of the
    n-gram where it was seen, otherwise ``backoff`` of the context plus the same question to the
    context without its first token. A state is the node of the longest context that matters.

    Args:
        order: Longest n-gram.
        vocab_size: Tokens are 0 to ``vocab_size - 1``; the two ids behind them are end and start.
        keys: (N,) int64, sorted.
        log_prob: (N + 1,) float32, natural log; node 0 holds that of a token never seen.
        backoff: (N + 1,) float32, natural log.
        suffix: (N + 1,) int32, node of the n-gram without its first token.
    """

    def __init__(
        self,
        order: int,
        vocab_size: int,
        keys: Ints,
        log_prob: NDArray[np.float32],
        backoff: NDArray[np.float32],
        suffix: NDArray[np.int32],
    ) -> None:
        self.order, self.vocab_size = order, vocab_size
        self.keys, self.log_prob, self.backoff, self.suffix = keys, log_prob, backoff, suffix
        self._base = vocab_size + 2
        # memoryviews hand out Python numbers several times faster than arrays do
        self._key_view = keys.data
        self._log_prob_view = log_prob.data
        self._backoff_view = backoff.data
        self._suffix_view = suffix.data
        self._state_view = _shortest_states(keys, suffix, self._base).data
        self._cache: dict[tuple[int, int], tuple[float, int]] = {}

    def __len__(self) -> int:
        """Number of n-grams of all orders."""
        return len(self.keys)

    def start(self) -> int:
        """State at the beginning of a text."""
        if self.order == 1:
            return 0
        return self._state_view[self._find(0, self.vocab_size + 1)]

    def score(self, state: int, token: int) -> tuple[float, int]:
        """Natural log-probability of ``token`` after ``state``, and the state behind it."""
        answer = self._cache.get((state, token))
        if answer is None:
            answer = self._look_up(state, token)
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[state, token] = answer
        return answer

    def finish(self, state: int) -> float:
        """Natural log-probability that the text ends after ``state``."""
        return self.score(state, self.vocab_size)[0]

    def log_probability(self, tokens: Iterable[int]) -> float:
        """Natural log-probability of a whole text, its end included."""
        state, total = self.start(), 0.0
        for token in tokens:
            log_prob, state = self.score(state, token)
            total += log_prob
        return total + self.finish(state)

    def perplexity(self, sequences: Iterable[Sequence[int]]) -> float:
        """Perplexity per token, the end of each text counted as one.

        Raises:
            DataError: There is no text.
        """
        total, count = 0.0, 0
        for tokens in sequences:
            total += self.log_probability(tokens)
            count += len(tokens) + 1
        if not count:
            raise DataError("perplexity needs at least one text")
        return exp(-total / count)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file, complete or not at all."""
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                header=np.array([FORMAT_VERSION, self.order, self.vocab_size], dtype=np.int64),
                keys=self.keys,
                log_prob=self.log_prob,
                backoff=self.backoff,
                suffix=self.suffix,
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> NGram:
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            DataError: The file is missing, damaged, or of another format version.
        """
        try:
            # opened here, because numpy would leave a damaged file open
            with path.open("rb") as raw:
                if not zipfile.is_zipfile(raw):
                    raise DataError(f"{path} is not a readable xlasr n-gram file: no archive")
                raw.seek(0)
                file = np.load(raw, allow_pickle=False)
                header = file["header"].tolist()
                arrays = [file[name] for name in ("keys", "log_prob", "backoff", "suffix")]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a readable xlasr n-gram file: {error}") from error
        if len(header) != 3 or header[0] != FORMAT_VERSION:
            raise DataError(
                f"{path} has n-gram format {header[:1]}; this xlasr reads {FORMAT_VERSION}: "
                "build the language model again"
            )
        keys, log_prob, backoff, suffix = arrays
        nodes = np.arange(len(keys) + 1)
        wanted = (np.int64, np.float32, np.float32, np.int32)
        if (
            any(a.ndim != 1 or a.dtype != d for a, d in zip(arrays, wanted, strict=True))
            or any(len(a) != len(keys) + 1 for a in arrays[1:])
            or not (np.diff(keys) > 0).all()
            or not ((suffix >= 0) & (suffix <= np.maximum(nodes - 1, 0))).all()
        ):
            raise DataError(f"{path} is damaged: its tables do not fit; build it again")
        return cls(header[1], header[2], keys, log_prob, backoff, suffix)

    def _find(self, context: int, token: int) -> int:
        """Node of the n-gram, 0 if it was not seen."""
        key = context * self._base + token
        at = bisect_left(self._key_view, key)
        return at + 1 if at < len(self._key_view) and self._key_view[at] == key else 0

    def _look_up(self, state: int, token: int) -> tuple[float, int]:
        if not 0 <= token <= self.vocab_size:
            raise UsageError(
                f"token {token} is outside the language model's vocabulary of {self.vocab_size}"
            )
        total, context = 0.0, state
        while True:
            node = self._find(context, token)
            if node or not context:
                return total + self._log_prob_view[node], self._state_view[node]
            total += self._backoff_view[context]
            context = self._suffix_view[context]


def build(sequences: Iterable[Sequence[int]], order: int, vocab_size: int) -> NGram:
    """Count n-grams and estimate interpolated modified Kneser-Ney.

    The highest order, and n-grams that begin a text, are counted as they occur; all others by the
    number of different tokens that stand before them. Each order has its own three discounts.
    Where an order has too few n-grams to estimate them (no singletons, or a value outside what it
    discounts), they are 0.5, 1 and 1.5. The lowest order is interpolated with the uniform
    distribution over all tokens and the end, so every token has a probability.

    Args:
        sequences: Texts as token ids; one text is one sequence, its start and end are modelled.
        order: Longest n-gram, at least 1.
        vocab_size: Number of token ids.

    Returns:
        The model; over the tokens and the end, its probabilities sum to one in every state.

    Raises:
        UsageError: ``order`` or ``vocab_size`` is below 1, or too large together for the text.
        DataError: There is no text, or a token is outside the vocabulary.

    Source: Chen & Goodman 1999, section 3 (equations 23 to 28); start of text as in Heafield 2013.
    """
    if order < 1 or vocab_size < 1:
        raise UsageError(f"order and vocab_size must be at least 1; found {order}, {vocab_size}")
    tokens, depth = _concatenate(sequences, vocab_size)
    base = vocab_size + 2
    if (order * len(tokens) + 1) > np.iinfo(np.int64).max // base or order * len(tokens) > 2**31:
        raise UsageError(
            f"{len(tokens):,} tokens at order {order} are more than the n-gram tables can number"
        )
    levels = _count(tokens, depth, order, base)
    uniform = np.array([1.0 / (vocab_size + 1)])
    below, contexts = uniform, 1  # probabilities and number of n-grams one order down
    log_probs: list[Floats] = []
    backoffs: list[Floats] = []
    for level in levels:
        probability, weight = _interpolate(level, below, contexts, base)
        if not log_probs:
            log_probs.append(np.log(weight * uniform))  # a token never seen
        log_probs.append(_log(probability))
        backoffs.append(_log(weight))
        below, contexts = probability, len(level.keys)
    backoffs.append(np.zeros(contexts))
    return NGram(
        order,
        vocab_size,
        np.concatenate([level.keys for level in levels]),
        np.concatenate(log_probs).astype(np.float32),
        np.concatenate(backoffs).astype(np.float32),
        np.concatenate([[0], *(level.suffix for level in levels)]).astype(np.int32),
    )


@dataclass
class _Level:
    """All n-grams of one order, sorted by context and token.

    Args:
        keys: Context node * base + token.
        suffix: Node of the n-gram without its first token.
        count: How often it occurred, or how many tokens stand before it.
        below: Node of the first n-gram one order down.
    """

    keys: Ints
    suffix: Ints
    count: Ints
    below: int


def _concatenate(sequences: Iterable[Sequence[int]], vocab_size: int) -> tuple[Ints, Ints]:
    """All texts with start and end in one array, and each token's place in its text."""
    parts: list[Ints] = []
    for number, sequence in enumerate(sequences):
        text = np.asarray(sequence, dtype=np.int64)
        if len(text) and not 0 <= text.min() <= text.max() < vocab_size:
            raise DataError(
                f"text {number} holds token {int(text.min())} to {int(text.max())}; the "
                f"vocabulary has 0 to {vocab_size - 1}"
            )
        parts.append(np.concatenate([[vocab_size + 1], text, [vocab_size]]))
    if not parts:
        raise DataError("a language model needs at least one text")
    return np.concatenate(parts), np.concatenate([np.arange(len(p)) for p in parts])


def _count(tokens: Ints, depth: Ints, order: int, base: int) -> list[_Level]:
    """Number the n-grams of every order and count them as Kneser-Ney wants."""
    levels: list[_Level] = []
    shorter = np.zeros(len(tokens), dtype=np.int64)  # node of the (n-1)-gram that ends here
    first, below = 1, 0
    begins_text = np.zeros(0, dtype=bool)
    for n in range(1, order + 1):
        ends = np.flatnonzero(depth >= n - 1)
        if not len(ends):
            break  # no text is as long as this
        contexts = shorter[ends - 1] if n > 1 else 0
        keys, sample, inverse, count = np.unique(
            contexts * base + tokens[ends],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        suffix = shorter[ends[sample]]
        if levels:
            before = np.bincount(suffix - below, minlength=len(levels[-1].keys))
            levels[-1].count = np.where(begins_text, levels[-1].count, before)
        begins_text = depth[ends[sample]] == n - 1
        levels.append(_Level(keys, suffix, count, below))
        shorter[ends] = first + inverse
        first, below = first + len(keys), first
    start = levels[0].keys == base - 1
    levels[0].count = np.where(start, 0, levels[0].count)  # the start is never predicted
    return levels


def _interpolate(level: _Level, below: Floats, n_contexts: int, base: int) -> tuple[Floats, Floats]:
    """Probability of each n-gram of a level, and the weight each context leaves to the next."""
    discounts = _discounts(level.count)
    context = level.keys // base - level.below
    total = np.bincount(context, level.count, n_contexts)
    discount = discounts[np.minimum(level.count, 3)]
    left = np.bincount(context, discount, n_contexts)
    weight = np.divide(left, total, out=np.ones(n_contexts), where=total > 0)
    own = (level.count - discount) / np.maximum(total, 1)[context]
    return own + weight[context] * below[level.suffix - level.below], weight


def _discounts(count: Ints) -> Floats:
    """What counts of 0, 1, 2, and 3 or more lose."""
    n1, n2, n3, n4 = (int((count == k).sum()) for k in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found[1:] > 0).all():
            return found
    return np.array([0.0, 0.5, 1.0, 1.5])


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values))


def _shortest_states(keys: Ints, suffix: NDArray[np.int32], base: int) -> NDArray[np.int32]:
    """For each node its longest suffix that anything was seen behind.

    Hypotheses that differ only before it are one to the model, and answers are kept by state.
    """
    matters = np.zeros(len(suffix), dtype=bool)
    matters[keys // base] = True
    matters[0] = True
    state = np.arange(len(suffix), dtype=np.int32)
    while not matters[state].all():
        state = np.where(matters[state], state, suffix[state])
    return state
