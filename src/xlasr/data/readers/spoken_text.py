"""Text read out by espeak-ng: synthetic speech for training, never for dev or test.

Two layouts: a text file with one sentence on each line (reader ``spoken-text``), and the quotations
of Debian's ``fortunes-cs`` (source ``synthetic-cs``). Every sentence gets a voice, a rate and an
intonation of its own, drawn from a hash of the sentence. All records prescribe the side ``train``;
the speaker's name begins with ``espeak-ng``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from xlasr.data.cache import cache_dir
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, Source, encoding_advice
from xlasr.data.synthesis import SAMPLE_RATE, Synthesiser, draw_voice
from xlasr.errors import DataError

FORTUNES = Path("usr/share/games/fortunes")
LONGEST = 80
"""Characters of a sentence that is taken from running text: about six seconds."""
_NOT_WORDS = re.compile(r"[0-9@#/\\<>*_=|~^{}\[\]()]|[^\W\d_a-zěščřžýáíéůúťďňó]{2,}|\w\.\w")

SOURCES = {
    "synthetic-cs": Source(
        language="cs",
        licence="GPL-3.0-or-later",
        attribution="quotations of Debian's fortunes-cs (Zdenek Pytela), read out by espeak-ng",
        packages=("fortunes-cs",),
        reader="fortunes",
        group_rule="sentence (training only)",
        about="SYNTHETIC speech, about 5 hours: Czech quotations read out by espeak-ng",
    )
}


def read_sentences(path: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read out a text file, one sentence a line.

    Raises:
        DataError: No such file, another encoding, no line in it, or espeak-ng cannot be used.
    """
    content = path.read_bytes() if path.is_file() else b""
    if not content.strip():
        raise DataError(f"{path}: not a text file with a sentence on each line.")
    try:
        text = content.decode(options.encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        advice = encoding_advice(content, options.encoding)
        raise DataError(f"{path}: {error}. {advice}") from error
    sentences = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if any(c.isalpha() for c in line):
            sentences.append(line.strip())
        else:
            quarantine.add(f"{path.name} line {number}", "not speech", f"no letter in {line!r}")
    yield from _speak(sentences, options, quarantine)


def read_fortunes(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read out the short sentences of an unpacked ``fortunes-*`` package.

    Raises:
        DataError: No quotations of this language there, or espeak-ng cannot be used.
    """
    sentences = fortune_sentences(root, options.language)
    if not sentences:
        raise DataError(f"{root}: no quotations in language {options.language!r} there.")
    yield from _speak(sentences, options, quarantine)


def fortune_sentences(root: Path, language: str) -> list[str]:
    """Whole sentences of 12 to 80 characters without digits, marks or acronyms, each once.

    Sources ("-- T. Pratchett") and the Slovak files of the package are left out, and so are
    sentences without a letter that only this language's alphabet has, since many quotations are
    English.
    """
    found: dict[str, None] = {}
    folder = root / FORTUNES / language
    own = set("ěščřžýáíéůúťďň") if language == "cs" else set()
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.suffix or path.name.endswith("-sk") or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeError:
            continue  # the package keeps copies in older encodings
        for quotation in text.split("\n%\n"):
            lines = [s for s in quotation.splitlines() if not s.strip().startswith("--")]
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(" ".join(lines).split())):
                sentence = sentence.strip(" \"'„“”»«-")
                whole = sentence[:1].isupper() and sentence[-1:] in {".", "!", "?"}
                if not whole or not 12 <= len(sentence) <= LONGEST or _NOT_WORDS.search(sentence):
                    continue
                if not own or own & set(sentence.lower()):
                    found[sentence] = None
    return list(found)


def _speak(
    sentences: Sequence[str], options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    from rich.progress import track

    synthesiser = Synthesiser(options.language)
    folder = cache_dir() / "synthetic" / synthesiser.language
    folder.mkdir(parents=True, exist_ok=True)
    options.say(f"SYNTHETIC speech: {len(sentences)} sentences read out by espeak-ng")
    for sentence in track(sentences, "speaking", transient=True):
        digest = hashlib.sha256(f"{synthesiser.language}\n{sentence}".encode()).hexdigest()
        voice = draw_voice(np.random.default_rng(int(digest[:16], 16)))
        path = folder / f"{digest[:24]}.wav"
        if not path.exists():
            try:
                samples = synthesiser.say(sentence, voice)
            except DataError as error:
                quarantine.add(digest[:24], "not speech", str(error))
                continue
            partial = path.with_suffix(".partial")
            soundfile.write(partial, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
            partial.rename(path)
        yield RawRecord(
            id=digest[:24],
            audio=path,
            text=sentence,
            speaker=f"espeak-ng {voice.variant}",
            split="train",
            custom={"synthetic": True},
        )
