"""Checks of single transcripts: characters that are damaged, unseen, or of another script."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator

from xlasr.data.text import normalise
from xlasr.diagnosis.findings import Finding, Record, count, graded
from xlasr.diagnosis.material import Check, Material
from xlasr.diagnosis.scripts import (
    WORD,
    describe,
    foreign_letters,
    invisible,
    is_slip,
    main_script,
    script_of,
)


def _collect(material: Material, look: Callable[[str], str]) -> list[Record]:
    """Every utterance in whose text ``look`` sees something, with what it saw."""
    return [
        Record(split, utterance.id, seen)
        for split, utterance in material.utterances()
        if (seen := look(utterance.text))
    ]


def empty(material: Material) -> Iterator[Finding]:
    """Transcripts of which nothing is left when punctuation goes."""
    found = _collect(material, lambda t: "" if normalise(t, material.form) else repr(t))
    if found:
        yield Finding(
            graded(material.share(len(found)), material.thresholds.wrong_share),
            "empty text",
            f"{count(len(found), 'transcript')} without a letter or figure",
            found,
            "transcribe them or leave them out",
            fixable=True,
        )


def composed(material: Material) -> Iterator[Finding]:
    """The same letter in two spellings: composed (NFC) and as letter and accent (NFD)."""

    def look(text: str) -> str:
        return "" if unicodedata.is_normalized("NFC", text) else repr(text[:40])

    found = _collect(material, look)
    if found:
        yield Finding(
            "warning",
            "not NFC",
            f"{count(len(found), 'transcript')} spell accented letters as letter + accent (NFD) "
            "instead of one character (NFC): to a computer these are different words",
            found,
            "write NFC",
            fixable=True,
        )


def unseen(material: Material) -> Iterator[Finding]:
    """Characters that nobody sees."""
    found = _collect(material, lambda text: describe(invisible(text)))
    if found:
        yield Finding(
            "warning",
            "invisible characters",
            f"{count(len(found), 'transcript')} with characters that nobody sees (zero-width "
            f"spaces, soft hyphens, marks of direction): {found[0].detail}",
            found,
            "take them out",
            fixable=True,
        )


def spaces(material: Material) -> Iterator[Finding]:
    """White space that is not one plain space between words."""
    found = _collect(
        material, lambda text: "" if text == " ".join(text.split()) else repr(text[:40])
    )
    if found:
        yield Finding(
            "note",
            "white space",
            f"{count(len(found), 'transcript')} with double, unusual or outer white space",
            found,
            "write one plain space between words",
            fixable=True,
        )


def damaged(material: Material) -> Iterator[Finding]:
    """Text that was once read in the wrong encoding."""
    found = _collect(material, lambda text: _damage(text, material.script))
    if found:
        yield Finding(
            graded(material.share(len(found)), material.thresholds.wrong_share),
            "damaged letters",
            f"{count(len(found), 'transcript')} read in a wrong encoding somewhere on the way: "
            f"{found[0].detail}",
            found,
            "prepare the corpus again from the original with the right --encoding",
        )


def _damage(text: str, script: str) -> str:
    if "\ufffd" in text:
        return f"U+FFFD in {text[:40]!r}"
    for word in text.split():
        if word.isascii():
            continue
        for encoding in ("cp1252", "latin-1"):
            try:  # UTF-8 that was read as Western European, and little else, survives this
                right = word.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            # "NEJSPÍŠ" and "Úžas" survive it too, as letters that nobody writes beside the others
            letters = [script_of(char) for char in right if not char.isascii()]
            if set(letters) == {script} or ("" not in letters and len(letters) > 2):
                return f"{word!r} was probably {right!r}"
    return ""


def lookalikes(material: Material) -> Iterator[Finding]:
    """Letters of another script inside words: slips of the keyboard, or an orthography."""
    ratio, characters, script = (
        material.thresholds.lookalike_ratio,
        material.characters,
        material.script,
    )
    slips: list[Record] = []
    others: list[Record] = []
    replaced: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for split, utterance in material.utterances():
        if utterance.text.isascii():
            continue
        bad, odd = [], []
        for word in WORD.findall(utterance.text):
            for letter, twin in foreign_letters(word, script):
                if is_slip(letter, twin, characters, ratio):
                    bad.append(word)
                    replaced[letter] += 1
                else:
                    odd.append(word)
                    strange[letter] += 1
        if bad:
            slips.append(Record(split, utterance.id, f"in {', '.join(dict.fromkeys(bad))!r}"))
        if odd:
            others.append(Record(split, utterance.id, f"in {', '.join(dict.fromkeys(odd))!r}"))
    if slips:
        letters = describe(replaced.elements())
        yield Finding(
            graded(material.share(len(slips)), material.thresholds.wrong_share),
            "look-alike letters",
            f"{count(len(slips), 'transcript')} with letters of another script that look like the "
            f"right ones: {letters}",
            slips,
            "replace them by the letters they look like",
            fixable=True,
        )
    if others:
        yield Finding(
            "warning" if material.share(len(others)) < material.thresholds.wrong_share else "note",
            "two scripts in a word",
            f"{count(len(others), 'transcript')} with words of two scripts: "
            f"{describe(strange.elements())}",
            others,
            "if this is how the language is written, all is well; else correct the words",
        )


def scripts(material: Material) -> Iterator[Finding]:
    """Words in another script than the corpus."""
    if not material.script:
        return
    found: Counter[str] = Counter()

    def look(text: str) -> str:
        if text.isascii() and material.script == "LATIN":
            return ""
        words = [
            w for w in WORD.findall(text) if main_script(w, material.script) != material.script
        ]
        found.update(
            {name for w in words for name in map(script_of, w) if name} - {material.script}
        )
        return repr(" ".join(words)[:60]) if words else ""

    records = _collect(material, look)
    if records:
        names = ", ".join(f"{name.title()} in {n}" for name, n in found.most_common())
        rare = material.share(len(records)) < material.thresholds.wrong_share
        yield Finding(
            "warning" if rare else "note",
            "words in another script",
            f"{count(len(records), 'transcript')} with words that are not in "
            f"{material.script.title()} script ({names}): {records[0].detail}",
            records,
            "is this said in the clip? If so, spell it in the script of the language or leave the "
            "clip out",
        )


CHECKS = (
    Check("empty text", empty),
    Check("damaged letters", damaged),
    Check("NFC", composed),
    Check("invisible characters", unseen),
    Check("white space", spaces),
    Check("look-alike letters", lookalikes),
    Check("mixed scripts", scripts),
)
