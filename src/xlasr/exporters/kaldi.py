"""Kaldi's data directory: ``wav.scp``, ``segments``, ``text``, ``utt2spk`` and ``spk2utt``.

Kaldi sorts all of them by bytes and wants an utterance's key to begin with its speaker, so a key
is ``SPEAKER-ID`` wherever the id does not begin so already; an unknown speaker is the utterance
itself, as Kaldi's documentation recommends. Keys hold no white space: it becomes ``_``.

Source: https://kaldi-asr.org/doc/data_prep.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from xlasr.data.annotations import TimedText
from xlasr.data.annotations.base import for_xml, milliseconds, one_line
from xlasr.data.corpus import Utterance
from xlasr.errors import DataError


def data_dir(utterances: Sequence[Utterance]) -> dict[str, str]:
    """Return name -> text of the files of one data directory.

    Raises:
        DataError: Two utterances or two recordings would get one key; a recording whose path Kaldi
            would take for a command; a channel that only Kaldi's commands could cut out.
    """
    recordings: dict[str, Path] = {}
    wav: dict[Path, str] = {}
    for u in utterances:
        if u.audio not in wav:
            path = str(u.audio.absolute())
            if path != path.strip() or path.endswith("|") or "\n" in path:
                raise DataError(f"{path!r}: Kaldi would not take this name for a file; rename it")
            key = _unused(_key(u.audio.stem), recordings)
            recordings[key], wav[u.audio] = u.audio, key
        if u.channel > 0:
            raise DataError(
                f"utterance {u.id!r} is channel {u.channel} of {u.audio}, and a Kaldi data"
                " directory names whole files. Prepare the corpus with copies (--copy-audio)"
            )
    rows: dict[str, tuple[Utterance, str]] = {}
    for u in utterances:
        speaker = _key(u.speaker) if u.speaker and u.speaker.strip() else ""
        key = _key(u.id)
        if speaker and not key.startswith(speaker):
            key = f"{speaker}-{key}"
        if key in rows:
            raise DataError(
                f"utterances {rows[key][0].id!r} and {u.id!r} would both get the key {key!r}."
                " Rename one of them"
            )
        rows[key] = u, speaker or key
    speakers: dict[str, list[str]] = {}
    for key in sorted(rows, key=_bytes):
        speakers.setdefault(rows[key][1], []).append(key)
    return {
        "wav.scp": _table((key, str(path.absolute())) for key, path in recordings.items()),
        "segments": _table((key, f"{wav[u.audio]} {_span(u)}") for key, (u, _) in rows.items()),
        "text": _table((key, one_line(for_xml(u.text))) for key, (u, _) in rows.items()),
        "utt2spk": _table((key, speaker) for key, (_, speaker) in rows.items()),
        "spk2utt": _table((speaker, " ".join(keys)) for speaker, keys in speakers.items()),
    }


def not_kept(segments: Sequence[TimedText]) -> dict[str, int]:
    """Count segments with something that a data directory has no place for, by its name."""
    counts: dict[str, int] = {}
    for segment in segments:
        lost = [name for name in segment.extra if name != "id"]
        lost += ["confidence"] if segment.confidence is not None else []
        for name in lost:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _span(u: Utterance) -> str:
    start = milliseconds(u.start_s)
    end = max(start + 1, milliseconds(u.start_s + u.duration_s))
    return f"{start / 1000:.3f} {end / 1000:.3f}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key} {rest}\n" for key, rest in sorted(rows, key=lambda row: _bytes(row[0])))


def _bytes(key: str) -> bytes:
    return key.encode()


def _key(name: str) -> str:
    return "_".join(for_xml(name).split()) or "_"


def _unused(key: str, used: dict[str, Path]) -> str:
    number, found = 1, key
    while found in used:
        number += 1
        found = f"{key}-{number}"
    return found
