"""Two tokenizers: letters for CTC heads, byte-level BPE for Whisper (or a cut of it)."""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xlasr.errors import BaseError, DataError


class CharTokenizer:
    """Letters or phones of a language; id 0 is the CTC blank.

    Args:
        symbols: Letters in id order, from id 1. The space is a symbol like any other. None at all
            is a model that was trained without text.
        spaced: A symbol is what stands between two spaces (phones: ``tʃ``, ``aː``), and the space
            itself is none.
    """

    blank = 0

    def __init__(self, symbols: Sequence[str], *, spaced: bool = False) -> None:
        if len(set(symbols)) != len(symbols):
            raise DataError(f"the alphabet has duplicates: {symbols}")
        self.symbols = list(symbols)
        self.spaced = spaced
        self._ids = {symbol: i + 1 for i, symbol in enumerate(self.symbols)}

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], at_least: int = 1, *, spaced: bool = False
    ) -> CharTokenizer:
        """Build an alphabet of every symbol that occurs ``at_least`` times in ``texts``.

        Raises:
            DataError: There is none.
        """
        counts = Counter(s for text in texts for s in (text.split() if spaced else text))
        symbols = sorted(s for s, n in counts.items() if n >= at_least)
        if not symbols:
            raise DataError("the alphabet is empty: no training transcript has a letter in it")
        return cls(symbols, spaced=spaced)

    def split(self, text: str) -> Sequence[str]:
        """Return the symbols of a text, known or not: its letters, or what its spaces part."""
        return text.split() if self.spaced else text

    def __len__(self) -> int:
        """Number of classes, blank included."""
        return len(self.symbols) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of the letters the alphabet has; others are left out (``unknown`` lists them)."""
        return [self._ids[s] for s in self.split(text) if s in self._ids]

    def last_letters(self, text: str) -> list[int]:
        """For each id of ``encode(text)`` the place of its letter in ``text``."""
        return [at for at, char in enumerate(text) if char in self._ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids that hold no blank."""
        return (" " if self.spaced else "").join(self.symbols[i - 1] for i in ids)

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Letters of ``texts`` that the alphabet lacks, with counts."""
        counts = Counter(s for text in texts for s in self.split(text) if s not in self._ids)
        return dict(counts.most_common())

    def extended(self, texts: Iterable[str]) -> CharTokenizer:
        """Return a tokenizer with the same ids and the new letters of ``texts`` behind them."""
        return CharTokenizer(self.symbols + sorted(self.unknown(texts)), spaced=self.spaced)

    def save(self, folder: Path) -> None:
        """Write ``alphabet.json``."""
        content = {"blank": 0, "symbols": self.symbols, "spaced": self.spaced}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / "alphabet.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CharTokenizer:
        """Read ``alphabet.json``.

        Raises:
            BaseError: It is missing or damaged.
        """
        path = folder / "alphabet.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["symbols"], spaced=bool(content.get("spaced", False)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BaseError(
                f"{path} cannot be read ({error}); without it the head's rows have no letters"
            ) from error


class WhisperTokens:
    """Whisper's byte-level BPE, read from ``tokenizer.json``.

    Works for the English-only and the multilingual vocabulary, and for one cut by ``cut``.

    Args:
        spec: The parsed ``tokenizer.json``.
        n_vocab: Rows of the embedding; those behind the tokenizer's last id are time stamps.
        language: BCP-47 tag whose token goes into the prompt, where the vocabulary is
            multilingual; a language without a token borrows the English one.
        multilingual: Whether the prompt names language and task; None reads it off the size of
            OpenAI's vocabularies (50,256 pieces before the specials mean English only).
    """

    def __init__(
        self,
        spec: dict[str, Any],
        n_vocab: int,
        language: str | None = None,
        multilingual: bool | None = None,
    ) -> None:
        import tokenizers

        self.spec = spec
        self._ranks: dict[tuple[str, str], int] | None = None  # of merges, once they are needed
        self.n_vocab = n_vocab
        self.language = language
        self._bpe = tokenizers.Tokenizer.from_str(json.dumps(spec))
        self._bpe.encode_special_tokens = True  # "<|en|>" in a transcript is eight letters
        self.eot = self._special("<|endoftext|>")
        self.no_timestamps = self._special("<|notimestamps|>")
        self.multilingual = self.eot == 50257 if multilingual is None else multilingual

    @property
    def prompt(self) -> list[int]:
        """Tokens before the text."""
        start = self._special("<|startoftranscript|>")
        if not self.multilingual:
            return [start, self.no_timestamps]
        token = self._bpe.token_to_id(f"<|{(self.language or 'en').split('-')[0]}|>")
        if token is None:
            token = self._special("<|en|>")
        return [start, int(token), self._special("<|transcribe|>"), self.no_timestamps]

    def _special(self, token: str) -> int:
        found = self._bpe.token_to_id(token)
        if found is None:
            raise BaseError(f"this Whisper tokenizer has no {token}; is tokenizer.json complete?")
        return int(found)

    def __len__(self) -> int:
        """Rows of the embedding."""
        return self.n_vocab

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone, with the leading space Whisper was trained with."""
        ids: list[int] = self._bpe.encode(" " + text.strip(), add_special_tokens=False).ids
        return ids

    def sample(self, text: str, dropout: float, uniform: Callable[[], float]) -> list[int]:
        """Ids of one random segmentation (BPE-dropout, Provilkov et al. 2020, section 3).

        The tokenizers library has it too, but draws from a generator that cannot be seeded, and
        a resumed run has to draw the same again.

        Args:
            text: As for ``encode``.
            dropout: Probability that a merge is passed over each time it could be made; 0 gives
                what ``encode`` gives.
            uniform: Draws from [0, 1).
        """
        if self._ranks is None:
            self._ranks = merge_ranks(self.spec)
        vocab = self.spec["model"]["vocab"]
        words = self._bpe.pre_tokenizer.pre_tokenize_str(" " + text.strip())
        drawn = (draw_pieces(word, self._ranks, dropout, uniform) for word, _ in words)
        return [vocab[piece] for pieces in drawn for piece in pieces]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens and time stamps are left out."""
        text: str = self._bpe.decode([i for i in ids if i < self.eot], skip_special_tokens=True)
        return text.strip()

    @property
    def allowed(self) -> range:
        """Ids that may be decoded: pieces and the end, no time stamps and no other specials."""
        return range(self.eot + 1)

    def for_language(self, language: str) -> WhisperTokens:
        """Return the same pieces, prompted for another language."""
        other = copy.copy(self)
        other.language = language
        return other

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Nothing: bytes spell everything."""
        return {}

    def cut(self, texts: Iterable[str]) -> tuple[WhisperTokens, list[int]]:
        """Keep the pieces that ``texts`` use, their merge ancestors, all bytes and all specials.

        The result is a complete byte-level BPE again: it segments ``texts`` as before and spells
        any other text with the pieces it has.

        Returns:
            The cut tokenizer, and the old id of each new id (rows to keep of the embedding).
        """
        vocab: dict[str, int] = self.spec["model"]["vocab"]
        merges = list(merge_ranks(self.spec))
        parts: dict[str, list[str]] = {}  # of every merge that makes the piece, if several do
        for a, b in merges:
            parts.setdefault(a + b, []).extend((a, b))
        by_id = {i: piece for piece, i in vocab.items()}
        specials = {t["id"] for t in self.spec["added_tokens"]}
        keep = {piece for piece, i in vocab.items() if len(piece) == 1 and i not in specials}
        todo = [by_id[i] for text in texts for i in set(self.encode(text))]
        while todo:
            piece = todo.pop()
            if piece not in keep:
                keep.add(piece)
                todo.extend(parts.get(piece, ()))
        pieces = sorted(keep, key=lambda piece: vocab[piece])
        old_ids = [vocab[piece] for piece in pieces] + list(range(self.eot, self.n_vocab))
        new_id = {old: new for new, old in enumerate(old_ids)}
        spec = json.loads(json.dumps(self.spec))
        spec["model"]["vocab"] = {piece: new_id[i] for piece, i in vocab.items() if i in new_id}
        kept_merges = [m for m in merges if m[0] in keep and m[1] in keep and m[0] + m[1] in keep]
        spec["model"]["merges"] = [list(m) for m in kept_merges]
        for token in spec["added_tokens"]:
            token["id"] = new_id[token["id"]]
        for entry in (spec.get("post_processor") or {}).get("special_tokens", {}).values():
            entry["ids"] = [new_id[i] for i in entry["ids"]]
        cut = WhisperTokens(spec, len(old_ids), self.language, self.multilingual)
        return cut, old_ids

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``."""
        text = json.dumps(self.spec, ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: Path,
        n_vocab: int,
        language: str | None = None,
        multilingual: bool | None = None,
    ) -> WhisperTokens:
        """Read ``tokenizer.json``.

        Raises:
            BaseError: The file is missing.
        """
        path = folder / "tokenizer.json"
        if not path.exists():
            raise BaseError(f"{folder} has no tokenizer.json; save it with AutoTokenizer first")
        return cls(json.loads(path.read_text(encoding="utf-8")), n_vocab, language, multilingual)


def merge_ranks(spec: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Pairs of a BPE in the order in which they are merged; both spellings of the file are read.

    Args:
        spec: A parsed ``tokenizer.json``.
    """
    pairs = (m.split(" ") if isinstance(m, str) else m for m in spec["model"]["merges"])
    return {(first, second): rank for rank, (first, second) in enumerate(pairs)}


def draw_pieces(
    word: str,
    ranks: dict[tuple[str, str], int],
    dropout: float,
    uniform: Callable[[], float],
) -> list[str]:
    """One random segmentation of a word (BPE-dropout, Provilkov et al. 2020, section 3).

    Args:
        word: As the pre-tokenizer gives it.
        ranks: What ``merge_ranks`` gives.
        dropout: Probability that a merge is passed over each time it could be made.
        uniform: Draws from [0, 1).
    """
    parts = list(word)
    while len(parts) > 1:
        possible = [
            (ranks[pair], at)
            for at, pair in enumerate(itertools.pairwise(parts))
            if pair in ranks and not (dropout and uniform() < dropout)
        ]
        if not possible:
            break
        _, at = min(possible)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
