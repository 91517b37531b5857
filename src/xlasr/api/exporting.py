"""The verbs ``export`` and ``align``: what a finished run gives to others."""

from __future__ import annotations

from pathlib import Path

from xlasr.alignment.recording import cut_recording, read_transcript
from xlasr.alignment.segment import DEFAULT, Matching, Segmentation
from xlasr.api.opened import open_run
from xlasr.data.audio import Limits
from xlasr.errors import UsageError


def export(run: str | Path, out: str | Path, *, format: str = "ct2") -> Path:
    """Export a finished run for another runtime.

    Args:
        run: A finished run.
        out: New folder.
        format: ``ct2`` (CTranslate2, faster-whisper; Whisper only) or ``transformers``.

    Raises:
        UsageError: The family has no such export.
        RunError: The run was not finished.
    """
    from xlasr.exporters import EXPORTERS

    exporter = EXPORTERS[format]
    opened = open_run(run)
    if opened.model.family != "seq2seq":
        raise UsageError(
            f"format {format!r} takes seq2seq runs; {run} is a {opened.model.family} run. Its "
            f"folder {opened.folder / 'model'} holds safetensors and JSON that xlasr opens"
        )
    exporter((opened.folder / "model").resolve(), Path(out))
    return Path(out)


def align(
    run: str | Path,
    audio: str | Path,
    text: str | Path,
    *,
    unit: str = DEFAULT.unit,
    longest_s: float = DEFAULT.longest_s,
    encoding: str = "utf-8",
    max_hours: float | None = 4.0,
) -> Segmentation:
    """Cut a long recording by its transcript, with word times.

    Args:
        run: A finished CTC run.
        audio: The recording.
        text: Its transcript; a ``Path`` is a text file.
        unit: ``text``: the ends of lines mean nothing, cut at sentence ends and pauses; ``line``:
            each line is an utterance.
        longest_s: Of an utterance, in seconds, for ``text``.
        encoding: Of the text file.
        max_hours: Longer recordings are refused; None is no limit. Memory grows by about 20 MB an
            hour, time with its square.

    Raises:
        UsageError: The run is no CTC run, or an option has no such value.
        DataError: Sound or text cannot be read, or nothing of the text is heard.
    """
    matching = Matching(unit=unit, longest_s=longest_s)
    content = read_transcript(text, encoding) if isinstance(text, Path) else text
    limits = Limits.of_hours(max_hours)
    return cut_recording(open_run(run).model, Path(audio), content, matching, limits=limits)
