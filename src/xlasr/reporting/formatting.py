"""Numbers as people read them. Ratios become per cent here and nowhere before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NBSP = "\u00a0"
"""Between a number and its unit, so that they stay on one line."""


def number(value: float, digits: int = 1) -> str:
    """Return a number with fixed digits; "∞" and "n/a" for what has none."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}"
    if text.strip("-0.,") == "":
        text = text.lstrip("-")  # no "-0.0"
    return text.replace("-", "−")


def per_cent(ratio: float, digits: int = 1) -> str:
    """Return a ratio as per cent: 0.2143 is "21.4 %"."""
    shown = number(100 * ratio, digits)
    return shown if shown == "n/a" else f"{shown}{NBSP}%"


def span(ends: tuple[float, float], digits: int = 1) -> str:
    """Return an interval of ratios in per cent, "19.9 to 23.0"; "n/a" where it is not defined."""
    if any(math.isnan(end) for end in ends):
        return "n/a"
    return f"{number(100 * ends[0], digits)} to {number(100 * ends[1], digits)}"


def p_value(p: float) -> str:
    """Return "p < 0.001", "p = 0.012" or "p = 0.37"."""
    if math.isnan(p):
        shown = "n/a"
    elif p < 0.001:
        shown = f"<{NBSP}0.001"
    else:
        shown = f"={NBSP}{p:.{3 if p < 0.1 else 2}f}"
    return f"p{NBSP}{shown}"


def whole(value: float) -> str:
    """Return a whole number with commas between thousands."""
    return f"{round(value):,}"


def short(value: float) -> str:
    """Return a large count with three digits or less: 18460416 is "18.5 M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{NBSP}{unit}"
    return whole(value)


def duration(seconds: float) -> str:
    """Return a time in the unit that fits: "48 s", "14 min", "2 h 05 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f}{NBSP}s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes}{NBSP}min"
    return f"{minutes // 60}{NBSP}h {minutes % 60:02d}{NBSP}min"


def stage_name(stage: Mapping[str, Any]) -> str:
    """Name of a stage of ``run.json``, and the language it writes where it translates."""
    into = f" (into {stage['target']})" if stage.get("target") else ""
    return f"{stage.get('stage', '')}{into}"


def decoding_words(decode: Mapping[str, Any], n_gram: str) -> str:
    """How an evaluation was decoded: "beam 8, 5-gram 0.6, int8".

    Args:
        decode: Settings of the evaluation.
        n_gram: What stands behind the order of the language model, where there is one.
    """
    beam = int(decode.get("beam", 1))
    words = ["greedy" if beam == 1 else f"beam {beam}"]
    if decode.get("lm_order"):
        words.append(f"{decode['lm_order']}-gram {n_gram}")
    if decode.get("int8"):
        words.append("int8")
    return ", ".join(words)
