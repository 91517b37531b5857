"""The prompts of the telephone exchange Asterisk: one professional speaker per language.

``usr/share/asterisk/sounds/LANG_REGION_SEX_NAME/KEY.g722`` is spoken (raw G.722, 16 kHz), and
``usr/share/doc/asterisk-core-sounds-LANG/core-sounds-LANG.txt.gz`` has lines ``KEY: TEXT``. The
same KEY means the same prompt in every language; it is the group. Where the English texts are
there too, each other prompt keeps its own as ``translation_en``.

The second voices (``LANG/KEY.gsm``, telephone band) come without texts: theirs are those of the
first voice's prompts of the same KEY, and at times they say it in other words.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, Source
from xlasr.errors import DataError

SOUNDS = Path("usr/share/asterisk/sounds")
# "[beep]", "(ahooga)", "<ascending tones>": a sound, not words.
_NOTE = re.compile(r"^\s*(\[[^\]]*\]|\([^)]*\)|<[^>]*>)[\s.]*$")

_SPEAKERS = {
    "en": "Allison Smith",
    "es": "Allison Smith",
    "fr": "June Wallack",
    "it": "Carlo Flora",
}
SOURCES = {
    f"asterisk-{language}": Source(
        language=language,
        licence="CC-BY-SA-3.0",
        attribution=f"Asterisk core sounds, spoken by {speaker}; decoded from G.722 to WAV",
        packages=(
            f"asterisk-core-sounds-{language}",
            f"asterisk-core-sounds-{language}-g722",
            *(() if language == "en" else ("asterisk-core-sounds-en",)),
        ),
        reader="asterisk",
        group_rule="key of the prompt",
        about=f"telephone prompts, about 25 minutes, one speaker ({speaker})",
    )
    for language, speaker in _SPEAKERS.items()
}

_SECOND_VOICES = {
    "fr-armelle": ("fr", "LicenseRef-BSD-style", "Armelle Desjardins", "Michel Gutierrez"),
    "es-co": ("es", "GPL-2.0-only", "July E. Jiménez, of Colombia", "Avatar Ltda."),
}
SOURCES |= {
    f"asterisk-{name}": Source(
        language=language,
        licence=f"{licence} AND CC-BY-SA-3.0",
        attribution=f"Asterisk prompts by {holder}, spoken by {speaker}; decoded from GSM to WAV; "
        f"texts of asterisk-core-sounds-{language}",
        packages=(f"asterisk-core-sounds-{language}", f"asterisk-prompt-{name}"),
        reader="asterisk",
        group_rule="key of the prompt",
        about=f"telephone prompts in telephone band, one speaker ({speaker}); texts of the first "
        "voice: the wording differs at times",
    )
    for name, (language, licence, speaker, holder) in _SECOND_VOICES.items()
}


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read the unpacked packages under ``root`` (a folder that stands for ``/``).

    Raises:
        DataError: No prompts of this language under ``root``.
    """
    language = options.language
    doc = root / _doc(language)
    folders = sorted((root / SOUNDS).glob(f"{language}_*")) or [root / SOUNDS / language]
    if not doc.is_file() or not folders[0].is_dir():
        raise DataError(f"{root}: no Asterisk prompts of language {language!r} there.")
    prompts = _prompts(doc)
    has_english = language != "en" and (root / _doc("en")).is_file()
    english = texts(root, "en") if has_english else {}
    spoken = set()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".g722", ".gsm")):
            key = path.relative_to(folder).with_suffix("").as_posix()
            spoken.add(key)
            if key not in prompts:
                quarantine.add(key, "missing text", f"{key} is not in {doc.name}")
            elif _NOTE.match(prompts[key]):
                quarantine.add(key, "not speech", f"its text is {prompts[key]!r}")
            else:
                custom = {"translation_en": english[key][1]} if key in english else {}
                yield RawRecord(
                    key,
                    path,
                    prompts[key],
                    speaker=folder.name,
                    # Languages differ in case only ("letters/O", "letters/o"): one group.
                    group=key.lower(),
                    custom=custom,
                )
    for key in sorted(set(prompts) - spoken):
        quarantine.add(key, "missing audio", f"no {key} in {folders[0].name}")


def texts(root: Path, language: str) -> dict[str, tuple[str, str]]:
    """Every prompt of a language that is words, spoken or not: {KEY: (group, text)}.

    Args:
        root: The unpacked package ``asterisk-core-sounds-LANGUAGE``.
        language: BCP-47 tag.

    Raises:
        DataError: No prompts of this language under ``root``.
    """
    doc = root / _doc(language)
    if not doc.is_file():
        raise DataError(f"{root}: no Asterisk prompts of language {language!r} there.")
    prompts = _prompts(doc).items()
    return {key: (key.lower(), text) for key, text in prompts if not _NOTE.match(text)}


def _doc(language: str) -> Path:
    return Path(f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz")


def _prompts(doc: Path) -> dict[str, str]:
    with gzip.open(doc, "rt", encoding="utf-8") as file:
        lines = [line for line in file if ":" in line and not line.startswith(";")]
    return {key.strip(): text.strip() for key, text in (line.split(":", 1) for line in lines)}
