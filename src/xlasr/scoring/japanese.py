"""Japanese: CER, MeCab-spaced WER, and a CER in which kanji and kana spellings are equal.

Three scores, never mixed:

``characters``
    CER under the normaliser "unspaced" (NFKC, no case, punctuation or spaces). The headline.
``words``
    WER after MeCab has put spaces into both sides, as the literature reports it. It depends on the
    dictionary, whose name and version stand beside it, and a wrong kanji may cost several words.
    Texts are normalised first and cut then, so that both sides are cut alike.
``readings``
    CER over katakana: 東京, とうきょう and トウキョウ are equal. What is *spoken* in a text is not
    certain (日本 is ニッポン or ニホン), so a stretch of the hypothesis that can be read as the
    reference can counts as right, and is written as the reference is. Stretches begin and end
    where both sides have a word boundary beside a character that agrees. Everything else takes the
    likeliest reading in its context. Digits, Latin letters and kanji that the dictionary does not
    know stay themselves: 10 and 十 are different. わ for the particle は is misspelt and counts.

``readings`` is lenient and never stands alone: any reading that the dictionary lists is accepted
(行った as オコナッタ), and words that sound alike are equal (脳炎, encephalitis, and 農園, a farm).

This is the scorer. No Japanese speech was at hand when it was written, so nothing here says how
well a model recognises Japanese. Needs the extra ``japanese``: fugashi (MeCab) and unidic-lite, a
dictionary that comes as a package (UniDic 2.1.2, 47 MB to fetch, 250 MB on disk).

Source: MeCab (T. Kudo et al., EMNLP 2004), UniDic (Y. Den et al., LREC 2008); that spelling must
not count: S. Karita et al., "Lenient Evaluation of Japanese Speech Recognition: Modeling Naturally
Occurring Spelling Inconsistency", CAWL 2023 (theirs adds respellings by a neural model); the wish:
M. Bajo et al., "Efficient Adaptation of Multilingual Models for Japanese ASR", 2024.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xlasr.errors import UsageError
from xlasr.scoring.alignment import Costs, align
from xlasr.scoring.confidence import rate_interval
from xlasr.scoring.error_rates import Metric, Score, score
from xlasr.scoring.normalisers import unspaced

BY_WORDS = "unspaced, cut by MeCab"
"""What ``words`` calls its normaliser."""
BY_READINGS = "unspaced, read by MeCab"
"""What ``readings`` calls its normaliser."""
_N_BEST = 20
"""Parses of one word that are asked for its readings."""
_MOST_READINGS = 256
"""Readings of a stretch that are tried; a longer one takes the likeliest only."""
_TO_KATAKANA = {code: code + 0x60 for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}


@dataclass(frozen=True)
class Word:
    """A word as MeCab cuts it.

    Attributes:
        surface: As written.
        reading: Likeliest reading in its context, in katakana; the surface where there is none.
    """

    surface: str
    reading: str


@dataclass(frozen=True)
class JapaneseScore:
    """The three scores of one test set.

    Attributes:
        characters: Normaliser "unspaced"; look at its ``cer`` only.
        words: MeCab words; look at its ``wer`` only.
        readings: Katakana; look at its ``cer`` only.
        dictionary: What cut and read, with versions.
    """

    characters: Score
    words: Score
    readings: Score
    dictionary: str

    @property
    def cer(self) -> float:
        """Character error rate, the headline, a ratio."""
        return self.characters.cer

    @property
    def mecab_wer(self) -> float:
        """Word error rate over MeCab's words, a ratio."""
        return self.words.wer

    @property
    def reading_cer(self) -> float:
        """Character error rate over readings, a ratio."""
        return self.readings.cer

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; a rate that is not defined is null."""
        rows: dict[str, tuple[Score, Metric]] = {
            "cer": (self.characters, "cer"),
            "mecab_wer": (self.words, "wer"),
            "reading_cer": (self.readings, "cer"),
        }
        found: dict[str, Any] = {"dictionary": self.dictionary}
        for name, (scored, metric) in rows.items():
            counts = scored.counts(metric)
            found[name] = {
                "rate": counts.rate if math.isfinite(counts.rate) else None,
                "hits": counts.hits,
                "substitutions": counts.substitutions,
                "deletions": counts.deletions,
                "insertions": counts.insertions,
                "interval": rate_interval(scored, metric).to_dict(),
            }
        return found


def score_japanese(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    costs: Costs = "levenshtein",
) -> JapaneseScore:
    """Score Japanese hypotheses in the three ways of the module's docstring.

    Args:
        references: Text by id, as written.
        hypotheses: Text by id; exactly the same ids.
        groups: Group by id, for intervals. None: every utterance is its own group.
        costs: As for ``score``.

    Raises:
        DataError: No references, or ids that are on one side only.
        UsageError: The extra ``japanese`` is not installed.
    """
    characters = score(references, hypotheses, groups, "unspaced", costs)
    name = dictionary_name()
    ref = {u.id: words_of(u.reference) for u in characters.utterances}
    hyp = {u.id: words_of(u.hypothesis) for u in characters.utterances}
    words = score(
        {key: " ".join(word.surface for word in cut) for key, cut in ref.items()},
        {key: " ".join(word.surface for word in cut) for key, cut in hyp.items()},
        groups,
        "raw",
        costs,
    )
    readings = score(
        {key: _likeliest(cut) for key, cut in ref.items()},
        {key: read_towards(hyp[key], cut) for key, cut in ref.items()},
        groups,
        "raw",
        costs,
    )
    return JapaneseScore(
        characters,
        replace(words, normaliser=BY_WORDS),
        replace(readings, normaliser=BY_READINGS),
        name,
    )


def words_of(text: str) -> list[Word]:
    """Cut a text into words with MeCab; it is normalised ("unspaced") first.

    Raises:
        UsageError: The extra ``japanese`` is not installed.
    """
    found = []
    for node in _tagger()(unspaced(text)):
        surface = str(node.surface)
        kana = katakana(surface)
        found.append(Word(surface, kana if _is_kana(kana) else str(node.feature.kana or surface)))
    return found


def read_towards(hyp: Sequence[Word], ref: Sequence[Word]) -> str:
    """Read a hypothesis, choosing the reference's reading wherever it can be read so.

    Args:
        hyp: Words of the hypothesis.
        ref: Words of the reference.

    Returns:
        Katakana. It equals the likeliest reading of the reference where each stretch of the
        hypothesis can be read as the reference's can.
    """
    parts = []
    for said, heard in _stretches(ref, hyp):
        if _surface(said) == _surface(heard) or _readings(said) & _readings(heard):
            parts.append(_likeliest(said))
        else:
            parts.append(_likeliest(heard))
    return "".join(parts)


def is_japanese(texts: Iterable[str]) -> bool:
    """Whether there is kana in ``texts``: Chinese has the same characters and none of it."""
    return any("\u3041" <= c <= "\u30ff" and c != "\u30fb" for text in texts for c in text)


def katakana(text: str) -> str:
    """Return ``text`` with hiragana written as katakana."""
    return text.translate(_TO_KATAKANA)


@functools.cache
def dictionary_name() -> str:
    """Return what cuts and reads, with versions: ``fugashi 1.5.2, unidic-lite 1.0.8``.

    Raises:
        UsageError: The extra ``japanese`` is not installed.
    """
    _tagger()
    names = ("fugashi", "unidic-lite")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _stretches(
    ref: Sequence[Word], hyp: Sequence[Word]
) -> list[tuple[Sequence[Word], Sequence[Word]]]:
    """Cut both sides where they agree on a character and both have a word boundary beside it."""
    ends = [dict(_boundaries(ref)), dict(_boundaries(hyp))]
    cuts = [(0, 0)]
    i = j = 0
    beside_hit = False
    for op in align(_surface(ref), _surface(hyp)):
        hit = op.kind == "hit"
        if (hit or beside_hit) and i in ends[0] and j in ends[1]:
            cuts.append((ends[0][i], ends[1][j]))
        i, j, beside_hit = i + (op.kind != "insertion"), j + (op.kind != "deletion"), hit
    cuts.append((len(ref), len(hyp)))
    return [(ref[a:c], hyp[b:d]) for (a, b), (c, d) in itertools.pairwise(cuts)]


def _boundaries(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Return (characters, words) before each word."""
    lengths = itertools.accumulate((len(word.surface) for word in words), initial=0)
    return [(length, i) for i, length in enumerate(lengths)]


def _readings(words: Sequence[Word]) -> set[str]:
    """Return all the ways in which some words can be read."""
    choices = [{word.reading, *_dictionary_readings(word.surface)} for word in words]
    if math.prod(map(len, choices)) > _MOST_READINGS:
        return {_likeliest(words)}
    return {"".join(choice) for choice in itertools.product(*choices)}


@functools.lru_cache(maxsize=100_000)
def _dictionary_readings(surface: str) -> frozenset[str]:
    kana = katakana(surface)
    if _is_kana(kana):
        return frozenset({kana})  # kana are read as they stand, whatever the dictionary makes of it
    parses = _tagger().nbestToNodeList(surface, _N_BEST)
    return frozenset(str(p[0].feature.kana) for p in parses if len(p) == 1 and p[0].feature.kana)


def _surface(words: Sequence[Word]) -> str:
    return "".join(word.surface for word in words)


def _likeliest(words: Sequence[Word]) -> str:
    return "".join(word.reading for word in words)


def _is_kana(text: str) -> bool:
    return all("\u30a1" <= c <= "\u30fe" for c in text)


@functools.cache
def _tagger() -> Any:
    try:
        import fugashi
        import unidic_lite
    except ImportError as error:
        raise UsageError(
            f"Japanese words and readings need MeCab and a dictionary, and {error.name!r} is not"
            " installed: pip install 'xlasr[japanese]'. CER needs neither."
        ) from error
    # Named explicitly: fugashi prefers another UniDic where one is installed, and words would
    # depend on the machine.
    folder = unidic_lite.DICDIR
    return fugashi.Tagger(f'-r "{folder}/mecabrc" -d "{folder}"')
