"""A corpus back into files: for ELAN, Praat, players, spreadsheets, NeMo, Label Studio and Kaldi.

* ``eaf``, ``textgrid``, ``srt``, ``vtt``: one file a recording with all its utterances. Clips that
  were cut out of a long recording and copied go back to their place in it, as long as it lies where
  it was; any other copy is a recording of its own.
  The files lie as the recordings do, below the folder that all recordings of the corpus have in
  common, whichever splits are exported.
* ``nemo``: a manifest a split (``train.jsonl``, ...), which says the split by its name.
* ``csv``: one table, with a column for the split. ``labelstudio``: one file of tasks.
* ``kaldi``: a data directory a split (``kaldi.py``).

Recordings are referred to, never copied. Times are rounded to milliseconds.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from pathlib import Path
from typing import Any

from xlasr.data.annotations import FORMATS, AnnotatedRecording, TimedText, not_kept, render
from xlasr.data.audio import UNLIMITED, measure
from xlasr.data.corpus import SOURCE, Corpus, Utterance, was_cut
from xlasr.errors import DataError, UnknownName, UsageError, XlasrError
from xlasr.exporters import kaldi

CORPUS_FORMATS = ("csv", "eaf", "kaldi", "labelstudio", "nemo", "srt", "textgrid", "vtt")

_KEPT_BY_NAME = {"nemo": "split", "kaldi": "split"}  # of the file or folder


@dataclass(frozen=True)
class CorpusExport:
    """What ``export_corpus`` has written.

    Args:
        folder: Where.
        files: The files, relative to it, in order.
        utterances: How many are in them, by split.
        recordings: How many they are from.
        not_kept: What the format has no place for -> utterances that have it.
    """

    folder: Path
    files: list[Path]
    utterances: dict[str, int]
    recordings: int
    not_kept: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Item:
    utterance: Utterance
    split: str
    recording_s: float


def export_corpus(
    corpus: Corpus | str | Path,
    out: str | Path,
    *,
    format: str = "eaf",
    splits: Sequence[str] = (),
) -> CorpusExport:
    """Write a corpus, or some of its splits, as annotation files that refer to its recordings.

    Args:
        corpus: The corpus, or its folder.
        out: A folder that does not exist yet, or an empty one; it is filled when all is written.
        format: One of ``CORPUS_FORMATS``.
        splits: Names of splits; none is all.

    Returns:
        What was written, and what the format could not hold.

    Raises:
        UnknownName: No such format, or no such split in the corpus.
        UsageError: ``out`` is taken, or lies in the corpus.
        CorpusError: No corpus there, or a damaged one.
        DataError: An utterance that the format cannot hold.
    """
    if format not in CORPUS_FORMATS:
        raise UnknownName("corpus format", format, CORPUS_FORMATS)
    opened = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    out = Path(os.path.abspath(out))
    _check_out(out, opened)
    for split in splits:
        opened.split(split)  # an unknown name is an error before any work
    every = list(_items(opened))
    if format in FORMATS and not FORMATS[format].several:
        every = _at_their_sources(every)
    items = [item for item in every if not splits or item.split in splits]
    media = list(dict.fromkeys(item.utterance.audio for item in every))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        files = []
        for name, text in _files(items, media, format, out):
            target = new / name
            if target.exists():
                raise DataError(
                    f"{out / name}: two recordings would be written to it. Does this disk not tell"
                    " upper from lower case? Export to another one, or rename one recording"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="")
            files.append(name)
        os.rename(new, out)  # whole, or not at all; an empty folder is replaced
    return CorpusExport(
        out,
        files,
        dict(Counter(item.split for item in items)),
        len({item.utterance.audio for item in every if not splits or item.split in splits}),
        _not_kept(items, format),
    )


def _check_out(out: Path, corpus: Corpus) -> None:
    if out == corpus.path or out.is_relative_to(corpus.path):
        raise UsageError(f"{out}: lies in the corpus itself. Give a folder outside of it")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out}: a file or link is there. Give a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: the folder is not empty. Give one that does not exist yet")


def _items(corpus: Corpus) -> Iterator[_Item]:
    """Yield utterances with the length of their recordings, which only the manifest says."""
    for name in corpus.splits:
        with (corpus.path / f"{name}.jsonl").open("rb") as lines:
            for utterance, line in zip(corpus.split(name), lines, strict=True):
                yield _Item(utterance, name, float(json.loads(line)["recording"]["duration"]))


def _at_their_sources(items: Sequence[_Item]) -> list[_Item]:
    """Put copied clips back to their places in the recordings they were cut out of."""
    lengths_s: dict[Path, float | None] = {}

    def length_s(path: Path) -> float | None:
        if path not in lengths_s:
            try:
                rate, n_samples = measure(path, limits=UNLIMITED)
                lengths_s[path] = n_samples / rate
            except (XlasrError, OSError):
                lengths_s[path] = None  # gone since, or damaged: the clip is what there is
        return lengths_s[path]

    found = []
    for item in items:
        u = item.utterance
        if was_cut(u.custom) and (seconds := length_s(Path(u.custom[SOURCE]))) is not None:
            places = (SOURCE, "source_start_s", "source_channel")
            u = replace(
                u,
                audio=Path(u.custom[SOURCE]),
                start_s=float(u.custom["source_start_s"]),
                channel=int(u.custom.get("source_channel", -1)),
                custom={k: v for k, v in u.custom.items() if k not in places},
            )
            item = _Item(u, item.split, seconds)
        found.append(item)
    return found


def _files(
    items: Sequence[_Item], media: Sequence[Path], format: str, out: Path
) -> Iterator[tuple[Path, str]]:
    """Yield path below ``out`` and text of each file; ``media`` is every recording there is."""
    if format == "kaldi":
        for split, part in _by(items, "split").items():
            for table, text in kaldi.data_dir([item.utterance for item in part]).items():
                yield Path(split) / table, text
    elif format == "nemo":
        for split, part in _by(items, "split").items():
            yield Path(f"{split}.jsonl"), render(format, list(_recordings(part)), out)
    elif FORMATS[format].several:
        name = Path(f"corpus{FORMATS[format].suffix}")
        yield name, render(format, list(_recordings(items, with_split=True)), out)
    else:
        names = dict(zip(media, file_names(media, FORMATS[format].suffix), strict=True))
        for recording in _recordings(items):
            name = names[recording.media]
            yield name, render(format, [recording], (out / name).parent)


def _by(items: Iterable[_Item], what: str) -> dict[str, list[_Item]]:
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(getattr(item, what), []).append(item)
    return groups


def _recordings(
    items: Iterable[_Item], *, with_split: bool = False
) -> Iterator[AnnotatedRecording]:
    """Yield each recording with its utterances by time."""
    groups: dict[Path, list[_Item]] = {}
    for item in items:
        groups.setdefault(item.utterance.audio, []).append(item)
    for media, group in groups.items():
        group.sort(key=lambda item: item.utterance.start_s)
        segments = [
            segment_of(i.utterance, {"split": i.split} if with_split else {}) for i in group
        ]
        yield AnnotatedRecording(media, segments, group[0].recording_s)


def segment_of(utterance: Utterance, more: Mapping[str, Any] = {}) -> TimedText:
    """Return an utterance as the writers take it.

    Its confidence is its custom field ``confidence``, or ``exp(alignment_score)``, as
    ``xlasr align`` writes it; None where it has neither.
    """
    u = utterance
    sure = u.custom.get("confidence")
    if sure is None and isinstance(u.custom.get("alignment_score"), int | float):
        sure = exp(min(0.0, u.custom["alignment_score"]))
    try:
        confidence = None if sure is None else float(sure)
    except (TypeError, ValueError):
        confidence = None
    if confidence is not None and not 0 <= confidence <= 1:
        confidence = None  # somebody else's scale: it stays an extra field
    own = {"id": u.id, "group": u.group, **more}
    extra = {f"custom_{k}" if k in own else k: v for k, v in u.custom.items()}
    if confidence is not None:
        extra.pop("confidence", None)
    return TimedText(
        u.start_s,
        u.start_s + u.duration_s,
        u.text,
        speaker=u.speaker,
        confidence=confidence,
        channel=None if u.channel < 0 else u.channel,
        extra={**own, **extra},
    )


def file_names(media: Sequence[Path], suffix: str) -> list[Path]:
    """Return a relative path for each recording's annotations: where it lies, and its stem.

    Folders are those below the one that all recordings have in common. Where two recordings differ
    in their suffix only ("a.wav" and "a.mp3"), it stays in the name ("a.wav.eaf").
    """
    common = Path(os.path.commonpath([path.parent for path in media])) if media else Path()
    relative = [path.relative_to(common) for path in media]
    stems = Counter(str(path.with_suffix("")).casefold() for path in relative)
    return [
        path.with_name((path.stem if stems[_stem(path)] == 1 else path.name) + suffix)
        for path in relative
    ]


def _stem(path: Path) -> str:
    return str(path.with_suffix("")).casefold()


def _not_kept(items: Sequence[_Item], format: str) -> dict[str, int]:
    """Count what is not in the files, nor in their names."""
    segments = [segment_of(item.utterance, {"split": item.split}) for item in items]
    counts = kaldi.not_kept(segments) if format == "kaldi" else not_kept(format, segments)
    counts.pop(_KEPT_BY_NAME.get(format, ""), None)
    return counts
