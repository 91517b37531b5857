"""SeamlessM4T's pieces, and which of its language tokens stands for a BCP-47 tag."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from xlasr.errors import BaseError
from xlasr.models.tokenizer import draw_pieces, merge_ranks

LANGUAGE = re.compile(r"__([a-z]{3}(?:_[A-Za-z]+)?)__")
USUAL = {"ar": "arb", "ff": "fuv", "ms": "zlm", "no": "nob", "ps": "pbt", "zh": "cmn"}
"""The language that is meant where only a group of languages is named; what CLDR does not say."""


class SeamlessTokens:
    """SentencePiece BPE as a ``tokenizer.json``, with one token for each language.

    A letter that the vocabulary lacks would be ``<unk>``, which must not be learnt: such letters
    are left out of targets, and ``unknown`` lists them.

    Args:
        spec: The parsed ``tokenizer.json``.
        n_vocab: Rows of the embedding.
        language: BCP-47 tag, or the base's own code (``cmn_Hant``), of what is written.

    Raises:
        BaseError: No special tokens, or none for this language.
    """

    def __init__(self, spec: dict[str, Any], n_vocab: int, language: str) -> None:
        import tokenizers

        self.spec = spec
        self.n_vocab = n_vocab
        self.language = language
        self._bpe = tokenizers.Tokenizer.from_str(json.dumps(spec))
        self._bpe.encode_special_tokens = True  # "__eng__" in a transcript is seven letters
        self._specials = {str(t["content"]): int(t["id"]) for t in spec["added_tokens"]}
        missing = {"<pad>", "<unk>", "</s>"} - self._specials.keys()
        if missing:
            raise BaseError(
                f"this SeamlessM4T tokenizer has no {', '.join(sorted(missing))} among its special "
                "tokens; is tokenizer.json complete?"
            )
        self.pad, self.unk, self.eot = (self._specials[t] for t in ("<pad>", "<unk>", "</s>"))
        self.prompt = [self.eot, self.language_id(language)]

    def __len__(self) -> int:
        """Rows of the embedding."""
        return self.n_vocab

    @cached_property
    def languages(self) -> dict[str, int]:
        """The base's own codes of languages, and the ids of their tokens."""
        matches = ((LANGUAGE.fullmatch(t), i) for t, i in self._specials.items())
        return {m[1]: i for m, i in matches if m}

    def language_id(self, language: str) -> int:
        """Id of a language's token.

        Args:
            language: One of the base's codes, or a BCP-47 tag: the same language (or group, such as
                ``zh``) in the same script.

        Raises:
            BaseError: There is none; names those there are.
        """
        found = match_language(language, self.languages)
        if found is None:
            raise BaseError(
                f"the base has no token for the language {language!r}. Let it write under that of "
                "the nearest language it has, with `prompt_language` in the recipe (adapt --set "
                f"prompt_language=CODE); it has: {', '.join(sorted(self.languages))}"
            )
        return self.languages[found]

    def for_language(self, language: str) -> SeamlessTokens:
        """Return the same pieces, prompted for another language.

        Raises:
            BaseError: The base has no token for it.
        """
        other = copy.copy(self)
        other.language = language
        other.prompt = [self.eot, self.language_id(language)]
        return other

    @cached_property
    def allowed(self) -> Sequence[int]:
        """Ids that may be decoded: pieces and the end."""
        pieces = set(self.spec["model"]["vocab"].values()) - set(self._specials.values())
        ids = sorted(pieces | {self.eot})
        return range(ids[0], ids[-1] + 1) if ids[-1] - ids[0] + 1 == len(ids) else ids

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone; letters that the vocabulary lacks are left out."""
        return [i for i in self._ids(text) if i != self.unk]

    def source(self, text: str, language: str) -> list[int]:
        """Ids as the text encoder takes them: language, text, end.

        Args:
            text: To be translated; what the vocabulary lacks is ``<unk>``, as in the base.
            language: It is written in.

        Raises:
            BaseError: The base has no token for it.
        """
        return [self.language_id(language), *self._ids(text), self.eot]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text.strip(), add_special_tokens=False).ids
        return ids

    def sample(self, text: str, dropout: float, uniform: Callable[[], float]) -> list[int]:
        """Ids of one random segmentation; see ``WhisperTokens.sample``."""
        vocab = self.spec["model"]["vocab"]
        words = self._bpe.pre_tokenizer.pre_tokenize_str(
            self._bpe.normalizer.normalize_str(text.strip())
        )
        drawn = (draw_pieces(word, self._ranks, dropout, uniform) for word, _ in words)
        return [vocab[piece] for pieces in drawn for piece in pieces if piece in vocab]

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return merge_ranks(self.spec)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens are left out."""
        special = set(self._specials.values())
        text: str = self._bpe.decode([i for i in ids if i not in special])
        return text.strip()

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Letters of ``texts`` that the vocabulary lacks, with counts."""
        counts = Counter(char for text in texts for char in text if not char.isspace())
        return {c: n for c, n in counts.most_common() if self.unk in self._ids(c)}

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``."""
        text = json.dumps(self.spec, ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, n_vocab: int, language: str) -> SeamlessTokens:
        """Read ``tokenizer.json``, or let transformers convert ``sentencepiece.bpe.model``.

        Raises:
            BaseError: Neither can be read, or there is no token for the language.
        """
        path = folder / "tokenizer.json"
        if path.exists():
            return cls(json.loads(path.read_text(encoding="utf-8")), n_vocab, language)
        from transformers import AutoTokenizer

        try:
            converted = AutoTokenizer.from_pretrained(folder).backend_tokenizer
        except (OSError, ValueError, ImportError, AttributeError) as error:
            raise BaseError(
                f"{folder} has no tokenizer.json, and its SentencePiece model cannot be read "
                f"({error}); save one there with AutoTokenizer.from_pretrained(ID)"
            ) from error
        return cls(json.loads(converted.to_str()), n_vocab, language)


def match_language(language: str, codes: Iterable[str]) -> str | None:
    """Find the base's code of a language, or None.

    Args:
        language: One of the codes, or a BCP-47 tag.
        codes: ISO 639-3, some with a script (``cmn_Hant``).
    """
    found = {code: _named(code) for code in codes}
    if language in found:
        return language
    wanted = _named(language)
    if wanted is None:
        return None
    name, group, script = wanted
    same = [c for c, n in found.items() if n is not None and (n[0], n[2]) == (name, script)]
    if same:
        return sorted(same)[0]
    if name != group:
        return None  # another language of the same group is not this one
    if USUAL.get(name) in found and wanted == _named(name):  # in its usual script
        return USUAL[name]
    near = [c for c, n in found.items() if n is not None and (n[1], n[2]) == (group, script)]
    return min(near, default=None)


def _named(tag: str) -> tuple[str, str, str] | None:
    """Language, the group it belongs to (itself, mostly) and its script; None for no language."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        found = langcodes.get(tag.replace("_", "-")).maximize()
    except LanguageTagError:
        return None
    if found.language is None:
        return None
    group = found.prefer_macrolanguage().language
    return found.language, group or found.language, found.script or ""
