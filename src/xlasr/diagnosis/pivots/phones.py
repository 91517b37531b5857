"""Phone inventories of two languages, compared: by what they share, and by how far apart it is.

The phones are those of espeak-ng's rules. Features are PanPhon's; a phone is taken apart into its
segments ("aɪ" is a and ɪ, "tʃ" is one affricate), and the distance of two segments is the share of
the features that differ, half a step where one of them does not apply, as in PanPhon.

Source: Mortensen et al., "PanPhon: A resource for mapping IPA segments to articulatory feature
vectors", COLING 2016; its table is ``tables/ipa_features.csv``.
"""

from __future__ import annotations

import csv
import functools
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]

NUMBERS = " ".join(map(str, range(101)))
"""What is read out where there is no text: espeak-ng spells figures in every language."""
RARE = 0.001
"""A phone below this share of a language's phones (a loan word's) is none to learn from."""
_TABLE = Path(__file__).parent / "tables" / "ipa_features.csv"
_STEPS = {"+": 1.0, "-": -1.0, "0": 0.0}
_MARKS: dict[str, dict[str, float]] = {
    "ː": {"long": 1},
    "\u0303": {"nas": 1},  # tilde
    "\u0325": {"voi": -1},  # rings below and above
    "\u030a": {"voi": -1},
    "\u0329": {"syl": 1},
    "\u032f": {"syl": -1},
    "ʰ": {"sg": 1},
    "ʲ": {"hi": 1, "back": -1},
    "ʷ": {"round": 1, "back": 1, "hi": 1},
    "ˤ": {"lo": 1, "back": 1},
    "\u033a": {"distr": -1},
    "\u033b": {"distr": 1},
    ".": {"ant": -1, "distr": -1},  # espeak-ng's retroflexes
}
_TIE = "\u0361"
_SAME = str.maketrans({_TIE: "", "g": "ɡ", "ε": "ɛ", "ʦ": "ts", "ʣ": "dz", "ʧ": "tʃ", "ʤ": "dʒ"})


@functools.cache
def _table() -> tuple[dict[str, Features], dict[str, int]]:
    """(segment -> features, feature -> its column)."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    columns = {feature: i for i, feature in enumerate(header[1:])}
    segments = {
        row[0].replace(_TIE, ""): np.array([_STEPS[step] for step in row[1:]]) for row in rows
    }
    return segments, columns


@functools.cache
def segments(phone: str) -> tuple[tuple[float, ...], ...]:
    """Features of the segments of a phone; marks that say nothing about features are passed by."""
    table, columns = _table()
    rest = phone.translate(_SAME)
    rest = "".join(c if c in table else unicodedata.normalize("NFD", c) for c in rest)
    found: list[Features] = []
    while rest:
        known = [rest[:n] for n in (3, 2, 1) if rest[:n] in table]
        if known:
            found.append(table[known[0]].copy())
        elif found:
            for feature, step in _MARKS.get(rest[0], {}).items():
                found[-1][columns[feature]] = step
        rest = rest[len(known[0]) if known else 1 :]
    return tuple(tuple(features) for features in found)


def overlap(target: Mapping[str, int], other: Mapping[str, int]) -> float:
    """What two frequency distributions have in common: 1 is all, 0 is nothing."""
    n, m = sum(target.values()), sum(other.values())
    return sum(min(count / n, other.get(item, 0) / m) for item, count in target.items())


def covered(target: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Share of the target's occurrences whose item occurs in the other at all."""
    return sum(n for item, n in target.items() if other.get(item, 0)) / sum(target.values())


def distance(target: Mapping[str, int], other: Mapping[str, int]) -> float:
    """How far the target's segments are from the nearest ones of the other language.

    Args:
        target: Phones with counts.
        other: Phones with counts; those rarer than ``RARE`` are left out.

    Returns:
        Share of features that differ, the mean over the target's segments as often as they occur;
        NaN where one of the two has no segment whose features are known.
    """
    mine = _inventory(target)
    most = sum(other.values())
    theirs = np.array(list(_inventory({p: n for p, n in other.items() if n >= RARE * most})))
    if not mine or not len(theirs):
        return float("nan")
    total = 0.0
    for features, n in mine.items():
        steps = np.abs(theirs - np.array(features)).mean(axis=1) / 2
        total += n * float(steps.min())
    return total / sum(mine.values())


def _inventory(phones: Mapping[str, int]) -> Counter[tuple[float, ...]]:
    counts: Counter[tuple[float, ...]] = Counter()
    for phone, n in phones.items():
        for segment in segments(phone):
            counts[segment] += n
    return counts
