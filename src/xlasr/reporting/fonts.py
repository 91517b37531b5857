"""Which of the installed fonts cover a text; none is bundled."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

FIRST = "DejaVu Sans"
"""Comes with matplotlib: Latin, Cyrillic, Greek, Armenian, Georgian, Hebrew, Arabic."""


def covering(text: Iterable[str]) -> tuple[list[str], list[str]]:
    """Choose installed fonts that have the characters of a text, as few as possible.

    matplotlib takes a character from the first font of the list that has it.

    Args:
        text: Strings that will be drawn.

    Returns:
        Families, ``FIRST`` first, and the characters that no installed font has, sorted.
    """
    wanted = {c for part in text for c in part if unicodedata.category(c)[0] not in "CZ"}
    missing = {c for c in wanted if ord(c) not in _characters(_path(FIRST))}
    families = [FIRST]
    if missing:
        candidates = [(path, family) for path, family in _installed() if family != FIRST]
        while missing and candidates:
            held = [sum(ord(c) in _characters(path) for c in missing) for path, _ in candidates]
            at = max(range(len(held)), key=held.__getitem__)
            if not held[at]:
                break
            path, family = candidates.pop(at)
            families.append(family)
            missing = {c for c in missing if ord(c) not in _characters(path)}
    return families, sorted(missing)


def note(missing: Iterable[str]) -> str:
    """Say which characters the pictures lack, and what to do; "" where they lack none."""
    found = list(missing)
    if not found:
        return ""
    shown = " ".join(found[:20]) + (" ..." if len(found) > 20 else "")
    return (
        f"no installed font has {len(found)} of the characters ({shown}): the PNG and SVG files"
        " show boxes there, the HTML page uses the browser's fonts. Install a font of the script"
        " (for example Noto Sans) and compare again"
    )


def _path(family: str) -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(family))


def _installed() -> Iterator[tuple[str, str]]:
    """Upright fonts of normal weight, sans-serif ones first, each family once."""
    from matplotlib import font_manager

    fonts = [
        font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular", "book")
    ]
    seen: set[str] = set()
    for font in sorted(fonts, key=lambda f: ("sans" not in f.name.lower(), f.name, f.fname)):
        # matplotlib brings "Last Resort": it has all of Unicode, and for each a box
        if font.name not in seen and not font.name.startswith("Last Resort"):
            seen.add(font.name)
            yield font.fname, font.name


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())
