"""The verbs ``export`` and ``align``: what a finished run gives to others."""

from __future__ import annotations

from pathlib import Path

from xlasr.alignment.recording import cut_recording, read_transcript
from xlasr.alignment.segment import Matching, Segmentation
from xlasr.api.opened import open_run
from xlasr.errors import UsageError


def export(run: str | Path, out: str | Path, *, format: str = "ct2") -> Path:
    """Export a finished run for another runtime.

    Args:
        run: A finished run.
        out: New folder.
        format: ``ct2`` (CTranslate2, faster-whisper) or ``transformers``.

    Raises:
        UsageError: The family has no such export.
        RunError: The run was not finished.
    """
    from xlasr.exporters import EXPORTERS

    exporter = EXPORTERS[format]
    opened = open_run(run)
    if opened.model.family != "seq2seq":
        raise UsageError(
            f"format {format!r} takes Whisper runs; {run} is a {opened.model.family} run. Its "
            f"folder {opened.folder / 'model'} holds safetensors and JSON that xlasr opens"
        )
    exporter((opened.folder / "model").resolve(), Path(out))
    return Path(out)


def align(
    run: str | Path, audio: str | Path, text: str | Path, *, unit: str = "line"
) -> Segmentation:
    """Cut a long recording by its transcript (a ``Path`` is a text file), with word times.

    Raises:
        UsageError: The run is no CTC run, or ``unit`` is neither ``line`` nor ``sentence``.
        DataError: Sound or text cannot be read, or nothing of the text is heard.
    """
    content = read_transcript(text) if isinstance(text, Path) else text
    return cut_recording(open_run(run).model, Path(audio), content, Matching(unit=unit))
