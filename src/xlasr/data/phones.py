"""Transcripts as phones: how espeak-ng would pronounce them, a space between two phones.

Decisions:

* a phone is a unit of espeak-ng's own inventory for the language, as in phonemizer and in the
  wav2vec 2.0 models trained on its output: affricates, diphthongs and long vowels are one symbol
  (``tʃ``, ``aʊ``, ``aː``). espeak-ng separates its units itself, so no rule of ours cuts IPA;
* stress marks go, length marks stay: length is contrastive in Czech, Italian or Finnish, and Xu et
  al. keep it; tones stay with their vowel;
* word boundaries, pauses, hyphens (French liaison) and espeak-ng's notes of a change of language
  go; a doubled consonant is a long one (its Italian ``ss`` is ``sː``, like its ``tː``);
* punctuation is left in for espeak-ng, which ends a clause there; a text without a letter or digit
  has no phones (espeak-ng would spell the punctuation out).

They are rules, not what was said: reductions, dialect and foreign names are not in them.

Source: Xu et al. 2021 (arXiv 2109.11680, zero-shot phone recognition); espeak-ng, speak_lib.h.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import replace

from xlasr.data.corpus import Split, Utterance
from xlasr.data.synthesis import clauses
from xlasr.data.text import normalise

FORM = "phones"
_DROPPED = str.maketrans("", "", "ˈˌ-")


@functools.lru_cache(maxsize=1 << 17)
def phonemise(text: str, language: str) -> str:
    """Return the phones of a text, spaces between them; remembered while the process lives.

    Args:
        text: As written, with punctuation.
        language: BCP-47 tag.

    Raises:
        DataError: espeak-ng is not installed or has no such language.
    """
    if not any(char.isalnum() for char in text):
        return ""
    read = " ".join(clauses(text, language)).replace("_", " ")
    units = read.translate(_DROPPED).split()
    return unicodedata.normalize("NFC", " ".join(_long(u) for u in units if u[0] != "("))


def _long(unit: str) -> str:
    return f"{unit[0]}ː" if len(unit) == 2 and unit[0] == unit[1] else unit


def check_phones(language: str) -> None:
    """Refuse a language that espeak-ng does not know.

    Raises:
        DataError: It has no such language, or is not installed.
    """
    clauses("a", language)


def in_form(text: str, form: str, language: str) -> str:
    """Return a transcript in the form that is learnt.

    Args:
        text: As written.
        form: ``phones``, or the name of a normaliser.
        language: BCP-47 tag of the text.

    Raises:
        DataError: espeak-ng has no such language.
        UnknownName: No such form.
    """
    return phonemise(text, language) if form == FORM else normalise(text, form)


class PhoneSplit(Split):
    """A split whose transcripts are phones."""

    def _parse(self, line: bytes) -> Utterance:
        found = super()._parse(line)
        return replace(found, text=phonemise(found.text, found.language))


def split_in_form(split: Split, form: str) -> Split:
    """Return the split, with phones as its transcripts where ``form`` says so."""
    if form != FORM or isinstance(split, PhoneSplit):
        return split
    return PhoneSplit(split.folder, split.name, split.stats)
