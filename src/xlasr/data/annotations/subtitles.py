"""What SRT and WebVTT share: the times of a cue."""

from __future__ import annotations

from xlasr.data.annotations.base import TimedText, span_ms


def cue_times(segment: TimedText, point: str) -> str:
    """``start --> end``; a cue lasts at least a millisecond, as WebVTT demands.

    Args:
        segment: The cue.
        point: Between seconds and milliseconds: a comma or a full stop.
    """
    start, end = span_ms(segment)
    return f"{_clock(start, point)} --> {_clock(end, point)}"


def _clock(ms: int, point: str) -> str:
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{rest:03d}"
