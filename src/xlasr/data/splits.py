"""Which side of the split a group is on: a hash of the group's name and of nothing else.

A group is what must not be torn apart: a scene, a prompt, a speaker, a recording. Because the
language does not enter the hash, scene "cellar" is on the same side in Czech, Dutch and English,
and no translation of a test line can reach training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from xlasr.errors import UsageError

SPLITS = ("train", "dev", "test")
DEFAULT_RATIOS: Mapping[str, float] = {"train": 0.66, "dev": 0.11, "test": 0.23}

# Chosen once, by minutes only (no model had been run): the first number n for which the salt
# "xlasr-split-n" gives both dialogue corpora more than 20 minutes and 16 scenes of test and 9 to
# 11.5 minutes of dev. It never changes again, or every published number would lose its split.
SALT = "xlasr-split-6"


def position(group_key: str) -> float:
    """Return where a group lies in [0, 1): its hash, uniform and the same everywhere."""
    digest = hashlib.sha256(f"{SALT}\n{group_key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def check_ratios(ratios: Mapping[str, float] | None) -> dict[str, float]:
    """Return complete ratios that add up to 1, scaled to do so.

    Raises:
        UsageError: An unknown side, a negative or non-finite share, or nothing at all for train.
    """
    if ratios is None:
        return dict(DEFAULT_RATIOS)
    unknown = sorted(set(ratios) - set(SPLITS))
    values = {side: float(ratios.get(side, 0.0)) for side in SPLITS}
    total = sum(values.values())
    bad = any(not 0.0 <= v < float("inf") for v in values.values())
    if unknown or bad or values["train"] <= 0.0:
        raise UsageError(
            f"split ratios {dict(ratios)!r} do not work: give non-negative shares for"
            f" {', '.join(SPLITS)}, more than 0 for train, e.g. train=8 dev=1 test=1 (--share,"
            " once for each; a side that is not given stays empty)."
        )
    return {side: value / total for side, value in values.items()}


def fold_shift(fold: str | None, ratios: Mapping[str, float] | None = None) -> float:
    """Return how far a fold turns the positions, in [0, 1).

    Fold K/N moves every group by (K - 1) / N around the circle of positions, so that each of the N
    corpora is tested on other groups; 1/N is the split without folds. A claim that rests on one
    small test side is repeated over the folds.

    Args:
        fold: "K/N"; None is no turn.
        ratios: As for ``side_of``.

    Raises:
        UsageError: It is not K/N, or test sides of N folds would overlap.
    """
    if fold is None:
        return 0.0
    left, _, right = fold.partition("/")
    if not (left.isdecimal() and right.isdecimal() and 1 <= int(left) <= int(right)):
        raise UsageError(f"a fold is K/N with K from 1 to N, such as 2/4; found {fold!r}")
    share, folds = check_ratios(ratios)["test"], int(right)
    if share * folds > 1:
        raise UsageError(
            f"{folds} folds need a test share of at most {1 / folds:.3g}, and it is {share:.3g}: "
            f"their test sides would overlap; at most {int(1 / share)} folds"
        )
    return (int(left) - 1) / folds


def side_of(
    group_key: str, *, ratios: Mapping[str, float] | None = None, fold: str | None = None
) -> str:
    """Return the side of a group: "train", "dev" or "test".

    Args:
        group_key: The group's name, the same in every language.
        ratios: Share of each side; scaled to add up to 1. Default ``DEFAULT_RATIOS``.
        fold: As for ``fold_shift``.

    Raises:
        UsageError: The ratios or the fold do not work.
    """
    shares = check_ratios(ratios)
    at = (position(group_key) + fold_shift(fold, shares)) % 1.0
    if at < shares["test"]:
        return "test"
    if at < shares["test"] + shares["dev"]:
        return "dev"
    return "train"


def assign(
    groups: Collection[str],
    *,
    ratios: Mapping[str, float] | None = None,
    fold: str | None = None,
) -> tuple[dict[str, str], str]:
    """Return the side of each group, and the rule used in plain words.

    A handful of groups can hash to one side only. A corpus without a dev or test side is of no
    use, so where a wanted side stays empty the groups are ranked by the same hash and dealt out:
    the lowest to test, the next to dev. With two groups there is no dev, with one only train.
    """
    shares = check_ratios(ratios)
    sides = {group: side_of(group, ratios=shares, fold=fold) for group in groups}
    wanted = [side for side in SPLITS if shares[side] > 0]
    rule = f"sha256 of the group ({SALT}): " + ", ".join(
        f"{side} {shares[side]:.3g}" for side in SPLITS
    )
    rule += f"; fold {fold}" if fold else ""
    missing = [side for side in wanted if side not in sides.values()]
    if not missing:
        return sides, rule
    shift = fold_shift(fold, shares)
    ranked = sorted(sides, key=lambda group: ((position(group) + shift) % 1.0, group))
    held_out = [side for side in ("test", "dev") if side in wanted]
    counts = {side: max(1, round(shares[side] * len(ranked))) for side in held_out}
    while sum(counts.values()) >= max(1, len(ranked)):  # train gets at least one
        counts[max(counts, key=lambda side: (counts[side], side == "dev"))] -= 1
    start = 0
    sides = dict.fromkeys(ranked, "train")
    for side in held_out:
        for group in ranked[start : start + counts[side]]:
            sides[group] = side
        start += counts[side]
    return sides, f"{rule}; dealt by rank because {' and '.join(missing)} came out empty"


_SYNONYMS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "development": "dev",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def split_name(word: str) -> str | None:
    """Return the side that a folder's or cell's name means, or None ("validation" -> "dev")."""
    return _SYNONYMS.get(word.strip().lower())
