"""A split whose texts are translations: what is learnt where speech is to be translated.

Readers keep a translation beside the transcript, as ``translation_LANGUAGE`` in ``custom``: the
game's scripts and MuST-C have them, and any table with a column of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xlasr.data.corpus import Split, Utterance
from xlasr.data.text import normalise, raw
from xlasr.errors import DataError


def field_of(language: str) -> str:
    """Name of the custom field that holds the translation into a language."""
    return f"translation_{language}"


def translation_of(utterance: Utterance, language: str) -> str | None:
    """The translation of an utterance; None where there is none, or no letter and digit in it."""
    found = utterance.custom.get(field_of(language))
    text = raw(found) if isinstance(found, str) else ""
    return text if normalise(text) else None


class TranslatedSplit(Split):
    """The utterances of a split that have a translation, with that as their text.

    Attributes:
        target: BCP-47 tag of the translations.
        n_missing: Utterances of the split that have none.
    """

    def __init__(self, split: Split, target: str) -> None:
        self.target = target
        super().__init__(split.folder, split.name, split.stats)
        has = np.fromiter((translation_of(u, target) is not None for u in split), bool, len(split))
        self.n_missing = int((~has).sum())
        if not has.any():
            known = sorted({k for u in split for k in u.custom if k.startswith(field_of(""))})
            raise DataError(
                f"{split.folder}: no utterance of {split.name!r} has a translation into "
                f"{target!r}; found: {', '.join(known) or 'none'}. `xlasr prepare` keeps those of "
                f"fillets-* and asterisk-*, of MuST-C, and a table's column {field_of(target)}"
            )
        self._whole, self._rows = split, np.flatnonzero(has)
        self._index = self._index[has]
        self.durations_s = self._index["duration_s"]
        self.n_symbols = self._index["n_symbols"]

    def __iter__(self) -> Iterator[Utterance]:
        return (self[i] for i in range(len(self)))

    def transcript(self, at: int) -> str:
        """What is said in utterance ``at``, in its own language."""
        return self._whole[int(self._rows[at])].text

    def _parse(self, line: bytes) -> Utterance:
        found = super()._parse(line)
        return replace(found, text=translation_of(found, self.target) or "")


def translated(split: Split, target: str | None) -> Split:
    """Return the split, with translations as its texts where ``target`` names their language.

    Raises:
        DataError: No utterance has a translation into it.
    """
    return split if target is None else TranslatedSplit(split, target)


def missing(split: object) -> dict[str, int]:
    """Return how many utterances have no translation, by reason, where one was asked for."""
    if not isinstance(split, TranslatedSplit) or not split.n_missing:
        return {}
    return {f"no translation into {split.target}": split.n_missing}
