"""Checks of the orthography: rare letters, figures, abbreviations, notes among the words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from xlasr.data.text import normalise
from xlasr.diagnosis.findings import Finding, Record, count, few
from xlasr.diagnosis.material import Check, Material
from xlasr.diagnosis.scripts import script_of

_NOTE = re.compile(r"\[[^\]]*\]|\{[^}]*\}|<[^>]*>|\([^)]*\)|\*[^*\s][^*]*\*")
_SIGNS = frozenset("%&@#€$£¥₹°+=§№™©®~^|\\/")
# "e.g.", or a short word with a full stop after which the sentence goes on
_DOTTED = re.compile(r"\b(?:[^\W\d_]\.){2,}|\b[^\W\d_]{1,4}\.(?=\s+([^\W\d_]))")


def rare_letters(material: Material) -> Iterator[Finding]:
    """Letters of train that are too few to be learnt."""
    limit = material.thresholds.rare_letter
    counts: Counter[str] = Counter()
    for utterance in material.side("train"):
        counts.update(normalise(utterance.text, material.form))
    # letters of other scripts have a finding of their own
    own = {c: n for c, n in counts.items() if c.isalpha() and script_of(c) in ("", material.script)}
    rare = {c: n for c, n in own.items() if n < limit}
    if not rare:
        return
    found = []
    for utterance in material.side("train"):
        if letters := sorted(set(normalise(utterance.text, material.form)) & set(rare)):
            found.append(Record("train", utterance.id, f"{' '.join(letters)}: {utterance.text!r}"))
    listed = few((f"{c} ({rare[c]})" for c in sorted(rare, key=lambda c: (-rare[c], c))), 12)
    yield Finding(
        "note",
        "rare letters",
        f"{count(len(rare), 'letter')} of train stand there fewer than {limit} times and will not "
        f"be learnt: {listed}",
        found,
        "typing errors or foreign names? Spell them with the letters of the language",
    )


def figures(material: Material) -> Iterator[Finding]:
    """Numbers in figures: what is said is not what is written."""
    found = [
        Record(split, u.id, repr(u.text[:60]))
        for split, u in material.utterances()
        if any(char.isdigit() for char in u.text)
    ]
    if found:
        share = material.share(len(found))
        yield Finding(
            "warning" if share > material.thresholds.digit_share else "note",
            "figures",
            f"{count(len(found), 'transcript')} ({share:.1%}) with numbers in figures; a model "
            "learns letters from sounds, and 7 is not spelled as it is said",
            found,
            "write numbers in words, as they are said (the package num2words helps)",
        )


def abbreviations(material: Material) -> Iterator[Finding]:
    """Abbreviations and signs that are read out as words."""
    small = {
        word
        for _, u in material.utterances()
        for word in re.findall(r"[^\W\d_]+", u.text)
        if not word.isupper()
    }
    lowered = {word.lower() for word in small}
    kinds: Counter[str] = Counter()
    found = []
    for split, utterance in material.utterances():
        seen = _short_forms(utterance.text, lowered)
        if seen:
            kinds.update(seen)
            found.append(Record(split, utterance.id, f"{' '.join(seen)} in {utterance.text!r}"))
    if found:
        yield Finding(
            "note",
            "abbreviations and signs",
            f"{count(len(found), 'transcript')} with what may be said otherwise than it is "
            f"written: {few((f'{k} (x{n})' for k, n in kinds.most_common()), 8)}",
            found,
            "write them as they are said",
        )


def _short_forms(text: str, lowered: set[str]) -> list[str]:
    """Abbreviations and signs of one transcript."""
    plain = _NOTE.sub(" ", text)
    words = re.findall(r"[^\W\d_]+", plain)
    seen = [char for char in plain if char in _SIGNS]
    seen += [m[0] for m in _DOTTED.finditer(plain) if m[1] is None or m[1].islower()]
    if not all(word.isupper() for word in words):  # a line that is shouted is no abbreviation
        seen += [
            word
            for word in words
            if 2 <= len(word) <= 5 and word.isupper() and word.lower() not in lowered
        ]
    return seen


def notes(material: Material) -> Iterator[Finding]:
    """Remarks about the recording among the words."""
    kinds: Counter[str] = Counter()
    found = []
    for split, utterance in material.utterances():
        if seen := _NOTE.findall(utterance.text):
            kinds.update(seen)
            found.append(Record(split, utterance.id, " ".join(seen)))
    if found:
        yield Finding(
            "warning",
            "notes among the words",
            f"{count(len(found), 'transcript')} with text in brackets; what nobody says is learnt "
            f"as if it were said: {few((f'{k} (x{n})' for k, n in kinds.most_common()), 3)}",
            found,
            "take out what is not said",
        )


CHECKS = (
    Check("rare letters", rare_letters),
    Check("figures", figures),
    Check("abbreviations and signs", abbreviations),
    Check("notes among the words", notes),
)
