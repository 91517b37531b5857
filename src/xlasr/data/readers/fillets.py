r"""The dialogues of the game Fish Fillets: Czech and Dutch actors, some 80 scenes.

``sound/SCENE/LANG/ID.ogg`` is spoken, ``script/SCENE/dialogs_LANG.lua`` says what::

    dialogId("pra-v-nahore", "font_big", "Hey, arrange it up there somehow.")
    dialogStr("Hej, urovnej mi to tam nahoře nějak.")

The second field is the font of the subtitle, that is, the speaker; the third is English. A scene
is a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, Source
from xlasr.errors import DataError

GAME = Path("usr/share/games/fillets-ng")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_ID = rf"dialogId\(\s*{_STRING}\s*,\s*{_STRING}\s*,\s*{_STRING}\s*\)"
_ENGLISH = re.compile(_ID)
_DIALOG = re.compile(rf"{_ID}\s*dialogStr\(\s*{_STRING}\s*\)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_ATTRIBUTION = (
    "Fish Fillets - Next Generation, ALTAR interactive and contributors; resampled to 16 kHz"
)
SOURCES = {
    f"fillets-{language}": Source(
        language=language,
        licence="GPL-2.0-only",
        attribution=_ATTRIBUTION,
        packages=("fillets-ng-data", f"fillets-ng-data-{language}"),
        reader="fillets",
        group_rule="scene of the game",
        about=about,
    )
    for language, about in {
        "cs": "Czech actors, about 97 minutes, 78 scenes",
        "nl": "Dutch actors, about 91 minutes, 80 scenes",
    }.items()
}


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read the unpacked packages under ``root`` (a folder that stands for ``/``).

    Raises:
        DataError: No dialogue of this language under ``root``.
    """
    language = options.language
    for script in _scripts(root, language):
        scene = script.parent.name
        sounds = root / GAME / "sound" / scene / language
        lines = _dialogs(script.read_text(encoding="utf-8"))
        for path in sorted(sounds.glob("*.ogg")):
            record = f"{scene}.{path.stem}"
            if path.stem not in lines:
                detail = f"{path.name} has no dialogId in {script.name}"
                quarantine.add(record, "missing text", detail)
                continue
            font, english, text = lines.pop(path.stem)
            custom = {"translation_en": english} if english else {}
            speaker = font.removeprefix("font_")
            yield RawRecord(record, path, text, speaker=speaker, group=scene, custom=custom)
        for key in lines:
            detail = f"no {key}.ogg in {sounds.relative_to(root / GAME)} (a line nobody speaks)"
            quarantine.add(f"{scene}.{key}", "missing audio", detail)


def texts(root: Path, language: str) -> dict[str, tuple[str, str]]:
    """Every line of a language of the game, spoken or not: {SCENE.ID: (scene, text)}.

    Args:
        root: The unpacked package ``fillets-ng-data``.
        language: As its files are called: cs, de, de_CH, en ...

    Raises:
        DataError: No dialogue of this language under ``root``.
    """
    found = {}
    for script in _scripts(root, language):
        scene, content = script.parent.name, script.read_text(encoding="utf-8")
        if language == "en":  # has no dialogStr: it is the other languages' third field
            told = {m[1]: _ESCAPE.sub(r"\1", m[3]) for m in _ENGLISH.finditer(content)}
        else:
            told = {key: text for key, (_, _, text) in _dialogs(content).items()}
        found.update({f"{scene}.{key}": (scene, text) for key, text in told.items()})
    return found


def _scripts(root: Path, language: str) -> list[Path]:
    scripts = sorted((root / GAME).glob(f"script/*/dialogs_{language}.lua"))
    if not scripts:
        raise DataError(f"{root / GAME}: no script/*/dialogs_{language}.lua there.")
    return scripts


def _dialogs(script: str) -> dict[str, tuple[str, str, str]]:
    """Return {id: (font, English, text)} of a dialogue script."""
    lines = {}
    for match in _DIALOG.finditer(script):
        key, font, english, text = (_ESCAPE.sub(r"\1", part) for part in match.groups())
        lines[key] = (font, english, text)
    return lines
