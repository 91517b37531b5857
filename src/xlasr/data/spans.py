"""Stretches of one recording that share time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xlasr.data.audio import SLACK_S

Span = tuple[float, float]
"""Start and end in seconds; the end is after the start, and may be infinite."""


def overlap(earlier: Span, later: Span) -> bool:
    """Return whether two spans share time; ``earlier`` is the one that sorts first.

    Ends are rounded in many transcripts, so ``SLACK_S`` in common is no overlap, unless one span
    lies wholly inside the other.
    """
    (begun, until), (start, end) = earlier, later
    return round(until - start, 6) > SLACK_S or end <= until or start == begun


def find_overlaps(spans: Sequence[Span]) -> dict[int, int]:
    """Find the spans that share time with another: index -> index of one such other.

    Args:
        spans: In any order.
    """
    found: dict[int, int] = {}
    last: int | None = None  # the one that ends last so far
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        if last is not None and overlap(spans[last], spans[i]):
            found.setdefault(i, last)
            found.setdefault(last, i)
        if last is None or spans[i][1] > spans[last][1]:
            last = i
    return found


def overlapping_pairs(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield the indices of all pairs of spans that share time, the earlier one first.

    Args:
        spans: In any order.
    """
    running: list[int] = []
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        running = [j for j in running if spans[j][1] >= spans[i][0]]
        yield from ((j, i) for j in running if overlap(spans[j], spans[i]))
        running.append(i)
