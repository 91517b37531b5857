"""SentencePiece's unigram pieces, built from training text: what a large transducer writes."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from xlasr.errors import BaseError, DataError
from xlasr.models.tokenizer import CharTokenizer

BLANK, UNKNOWN = 0, 1
FILE = "pieces.model"


class PieceTokenizer:
    """Pieces of words by a unigram language model; id 0 is the blank, id 1 is never written.

    Source: Kudo 2018 (arXiv 1804.10959).

    Args:
        proto: A serialised SentencePiece model whose padding id is 0 and unknown id 1.

    Raises:
        BaseError: It is none.
    """

    blank = BLANK

    def __init__(self, proto: bytes) -> None:
        import sentencepiece

        self._proto = proto
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except (RuntimeError, ValueError) as error:
            raise BaseError(f"these are no SentencePiece pieces ({error})") from error
        if (self._model.pad_id(), self._model.unk_id()) != (BLANK, UNKNOWN):
            raise BaseError("id 0 of a transducer's pieces must be the padding, id 1 the unknown")

    @classmethod
    def from_texts(cls, texts: Iterable[str], n_classes: int) -> PieceTokenizer:
        """Learn pieces from training text.

        Args:
            texts: Lines, in the form that is learnt.
            n_classes: Blank and unknown included.

        Raises:
            DataError: The text gives fewer pieces than that, or has more letters.
        """
        import sentencepiece

        proto = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(list(texts)),
                model_writer=proto,
                model_type="unigram",
                vocab_size=n_classes,
                character_coverage=1.0,
                normalization_rule_name="identity",  # ours is done already
                pad_id=BLANK,
                unk_id=UNKNOWN,
                bos_id=-1,
                eos_id=-1,
                num_threads=1,  # the same pieces every time
                minloglevel=2,
            )
        except RuntimeError as error:
            raise DataError(_advice(str(error), n_classes)) from error
        return cls(proto.getvalue())

    @property
    def symbols(self) -> list[str]:
        """Pieces in id order, from id 1; a word begins with a low line."""
        return [str(self._model.id_to_piece(i)) for i in range(1, len(self))]

    def __len__(self) -> int:
        """Number of classes, blank included."""
        return int(self._model.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces; letters that no piece has are left out (``unknown`` lists them)."""
        return [i for i in self._model.encode(text) if i != UNKNOWN]

    def last_letters(self, text: str) -> list[int]:
        """For each id of ``encode(text)`` the place of its last letter in a normalised text."""
        found, length = [], -1  # the first piece begins with a mark that is no letter of the text
        for piece in self._model.encode(text, out_type=str):
            length += len(piece)
            if self._model.piece_to_id(piece) != UNKNOWN:
                found.append(min(max(0, length - 1), len(text) - 1))
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids that hold no blank."""
        return str(self._model.decode([i for i in ids if i != UNKNOWN])).strip()

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Letters of ``texts`` that no piece has, with counts."""
        known = {letter for piece in self.symbols[1:] for letter in piece} | {" "}
        counts = Counter(char for text in texts for char in text if char not in known)
        return dict(counts.most_common())

    def save(self, folder: Path) -> None:
        """Write ``pieces.model``, SentencePiece's own format (a protocol buffer)."""
        (folder / FILE).write_bytes(self._proto)

    @classmethod
    def load(cls, folder: Path) -> PieceTokenizer:
        """Read ``pieces.model``.

        Raises:
            BaseError: It is missing or damaged.
        """
        try:
            return cls((folder / FILE).read_bytes())
        except OSError as error:
            raise BaseError(
                f"{folder / FILE} cannot be read ({error}); without it the classes have no text"
            ) from error


def _advice(said: str, n_classes: int) -> str:
    """What SentencePiece's refusal means here."""
    most = re.search(r"<= (\d+)", said)
    if most:
        return (
            f"the training text is too small for {n_classes} pieces: it gives at most "
            f"{most.group(1)}. Set output.pieces to that or less, leave it out (single letters), "
            "or add text with output.extra_text"
        )
    least = re.search(r"required_chars. \d+ vs (\d+)", said)
    if least:
        return (
            f"{n_classes} pieces are too few: every letter of the text is one, which makes at "
            f"least {least.group(1)}. Raise output.pieces, or leave it out (single letters)"
        )
    return f"no pieces could be learnt from the training text ({said.strip()[:200]})"


SymbolTokenizer = CharTokenizer | PieceTokenizer
"""What a blank can stand beside."""


def symbol_tokenizer(texts: Iterable[str], pieces: int | None = None) -> SymbolTokenizer:
    """Letters of the texts, or so many pieces (blank included)."""
    return (
        CharTokenizer.from_texts(texts)
        if pieces is None
        else PieceTokenizer.from_texts(texts, pieces)
    )


def load_symbols(folder: Path) -> SymbolTokenizer:
    """The letters or pieces of a model on disk.

    Raises:
        BaseError: Missing or damaged.
    """
    kind = PieceTokenizer if (folder / FILE).exists() else CharTokenizer
    return kind.load(folder)
