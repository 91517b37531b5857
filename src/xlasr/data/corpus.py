"""A corpus on disk: manifests that lhotse reads, named splits and a card.

::

    CORPUS/
      card.json            what it is (data/card.py)
      quarantine.jsonl     what could not be used, and why
      notes.jsonl          what should be known of the rest; not there if there is nothing
      train.jsonl          one lhotse MonoCut a line: a recording and one supervision
      train.index.npy      (offset, duration_s, n_symbols) of each line, memory-mapped
      dev.jsonl ... test.jsonl ...
      audio/ID.wav         16 kHz 16-bit mono copies (or the manifests refer to the sources)

Audio paths inside the corpus are relative to it, so that it can be moved; with lhotse:
``CutSet.from_file("CORPUS/train.jsonl").with_recording_path_prefix("CORPUS")``.
Opening reads the card and maps the indices: a million utterances cost no memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from xlasr.data import audio
from xlasr.data.card import Card, SplitStats
from xlasr.errors import CorpusError, UnknownName
from xlasr.files import sha256

SOURCE = "source"
"""Custom field of a clip that was cut out of a recording and copied: the recording's path.

On disk it is relative to the corpus, in an ``Utterance`` absolute. With it stand ``source_start_s``
(where in the recording the clip begins) and, where it is not the mean of all, ``source_channel``.
"""
VIDEO = "video"
"""Custom field of a clip that has pictures: their file, kept as ``SOURCE`` is; it is never copied.

With it stand ``video_start_s`` (where in that file the clip begins), ``video_s`` (seconds of
pictures from there on), ``video_frames`` and ``video_sha256`` of the file.
"""
INDEX = np.dtype([("offset", "<i8"), ("duration_s", "<f4"), ("n_symbols", "<i4")])


@dataclass(frozen=True, slots=True)
class Video:
    """The pictures of a clip.

    Attributes:
        path: The file.
        start_s: Where in it the clip begins, in seconds.
        seconds: Of pictures from there on; the sound may be longer or shorter.
    """

    path: Path
    start_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech and its transcript.

    Attributes:
        id: Unique within the corpus.
        audio: The file that holds it.
        start_s: Where it begins in the file, in seconds.
        duration_s: Its length in seconds.
        text: The transcript as it was given (NFC, spaces collapsed).
        language: BCP-47 tag.
        speaker: Who speaks; None where nobody said.
        group: What it must not be split from (scene, prompt, speaker, recording).
        channel: Channel of the file, from 0; -1 is the mean of all.
        custom: Anything else a reader found (for example "translation_en").
    """

    id: str
    audio: Path
    start_s: float
    duration_s: float
    text: str
    language: str
    speaker: str | None
    group: str
    channel: int = 0
    custom: dict[str, Any] = field(default_factory=dict)

    @property
    def video(self) -> Video | None:
        """Where the pictures of a clip are; None where it has none."""
        if not has_video(self.custom):
            return None
        start_s, seconds = (float(self.custom[key]) for key in ("video_start_s", "video_s"))
        return Video(Path(self.custom[VIDEO]), start_s, seconds)

    def load(self) -> np.ndarray:
        """Return the samples: float32 (n_samples,), mono, 16 kHz.

        Raises:
            AudioError: The file is gone or damaged.
        """
        return audio.decode(
            self.audio,
            start_s=self.start_s,
            duration_s=self.duration_s,
            channel=None if self.channel < 0 else self.channel,
            limits=audio.UNLIMITED,  # no further than the clip's end, and that was counted before
        )


def to_cut(utterance: Utterance, folder: Path, recording: tuple[int, int]) -> dict[str, Any]:
    """Return the lhotse MonoCut of an utterance as a dictionary.

    Args:
        utterance: The utterance.
        folder: The corpus; audio inside it is written relative to it.
        recording: (sample rate in Hz, samples per channel) of the whole audio file.
    """
    path = utterance.audio
    source = path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()
    sample_rate, n_samples = recording
    # lhotse wants times that name whole samples, and a channel that exists.
    duration_s = min(utterance.duration_s, n_samples / sample_rate - utterance.start_s)
    channel = max(0, utterance.channel)
    custom = {"group": utterance.group, **utterance.custom}
    for key in _paths_in(custom):
        custom[key] = os.path.relpath(custom[key], folder)
    if utterance.channel < 0:
        custom["mean_of_channels"] = True
    supervision = {
        "id": utterance.id,
        "recording_id": f"{utterance.id}-recording",
        "start": 0.0,
        "duration": round(duration_s, 8),
        "channel": channel,
        "text": utterance.text,
        "language": utterance.language,
        "speaker": utterance.speaker,
    }
    return {
        "id": utterance.id,
        "start": utterance.start_s,
        "duration": round(duration_s, 8),
        "channel": channel,
        "supervisions": [{k: v for k, v in supervision.items() if v is not None}],
        "recording": {
            "id": f"{utterance.id}-recording",
            "sources": [
                {
                    "type": "file",
                    "channels": list(range(channel + 1)),
                    "source": source.as_posix(),
                }
            ],
            "sampling_rate": sample_rate,
            "num_samples": n_samples,
            "duration": n_samples / sample_rate,
            "channel_ids": list(range(channel + 1)),
        },
        "custom": custom,
        "type": "MonoCut",
    }


def from_cut(line: bytes, folder: Path) -> Utterance:
    """Return the utterance of one manifest line (the inverse of ``to_cut``)."""
    cut = json.loads(line)
    supervision = cut["supervisions"][0]
    custom = dict(cut.get("custom") or {})
    group = custom.pop("group")
    mean = custom.pop("mean_of_channels", False)
    for key in _paths_in(custom):
        custom[key] = os.path.normpath(folder / custom[key])
    return Utterance(
        id=cut["id"],
        audio=folder / cut["recording"]["sources"][0]["source"],
        start_s=float(cut["start"]),
        duration_s=float(cut["duration"]),
        text=supervision["text"],
        language=supervision["language"],
        speaker=supervision.get("speaker"),
        group=group,
        channel=-1 if mean else int(cut["channel"]),
        custom=custom,
    )


def was_cut(custom: Mapping[str, Any]) -> bool:
    """Return whether the source is ours, and not a word of somebody else's table."""
    start_s = custom.get("source_start_s")
    return isinstance(custom.get(SOURCE), str) and isinstance(start_s, int | float)


def has_video(custom: Mapping[str, Any]) -> bool:
    """Return whether the video is ours, and not a word of somebody else's table."""
    times = (custom.get("video_start_s"), custom.get("video_s"))
    return isinstance(custom.get(VIDEO), str) and all(isinstance(t, int | float) for t in times)


def _paths_in(custom: Mapping[str, Any]) -> list[str]:
    found = {SOURCE: was_cut(custom), VIDEO: has_video(custom)}
    return [key for key, is_ours in found.items() if is_ours]


class Split(Sequence[Utterance]):
    """One side of a corpus: a sequence of utterances that stay on disk.

    Indexing costs one seek. The object holds no open file, so that it can be handed to other
    processes and threads.

    Attributes:
        folder: Of the corpus.
        name: "train", "dev" or "test".
        sha256: Hash of the manifest (texts, times and the hash of each clip's samples).
        durations_s: float32 (n_utterances,), seconds; memory-mapped.
        n_symbols: int32 (n_utterances,), characters of text; memory-mapped.
    """

    def __init__(self, folder: Path, name: str, stats: SplitStats) -> None:
        self.name = name
        self.sha256 = stats.sha256
        self.stats = stats
        self.folder = folder
        self._file = folder / f"{name}.jsonl"
        index_file = folder / f"{name}.index.npy"
        try:
            size = self._file.stat().st_size
            self._index = np.load(index_file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CorpusError(
                f"{folder}: split {name!r} is damaged ({error}). Prepare the corpus again."
            ) from error
        fits = self._index.dtype == INDEX and self._index.shape == (stats.utterances,)
        if not fits or size != stats.bytes:
            raise CorpusError(
                f"{self._file}: was changed after the corpus was written ({size} bytes, the card"
                f" says {stats.bytes}; {len(self._index)} lines indexed, the card says"
                f" {stats.utterances}). Prepare the corpus again instead of editing it."
            )
        self.durations_s: np.ndarray = self._index["duration_s"]
        self.n_symbols: np.ndarray = self._index["n_symbols"]

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        offset = int(self._index["offset"][index])
        with self._file.open("rb") as file:
            file.seek(offset)
            return self._parse(file.readline())

    def __iter__(self) -> Iterator[Utterance]:
        with self._file.open("rb") as file:
            for line in file:
                yield self._parse(line)

    def _parse(self, line: bytes) -> Utterance:
        try:
            return from_cut(line, self.folder)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CorpusError(
                f"{self._file}: a damaged line ({type(error).__name__}: {error}):"
                f" {line[:80]!r}. Prepare the corpus again."
            ) from error

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} utterances, {self.stats.minutes:.1f} min)"


class Corpus:
    """A folder of splits and a card; see the module's docstring for the layout.

    Attributes:
        path: The folder.
        card: What the corpus says about itself.
    """

    def __init__(self, path: Path, card: Card) -> None:
        self.path = path
        self.card = card

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus that ``prepare`` or ``write_corpus`` has written.

        Raises:
            CorpusError: No corpus there, or a damaged or edited one.
        """
        path = Path(path).absolute()
        corpus = cls(path, Card.read(path / "card.json"))
        for name in corpus.splits:
            corpus.split(name)
        return corpus

    @property
    def splits(self) -> list[str]:
        """Names of the splits that are not empty, in the order train, dev, test."""
        return list(self.card.splits)

    @property
    def language(self) -> str:
        """BCP-47 tag."""
        return self.card.language

    def split(self, name: str) -> Split:
        """Return one split.

        Raises:
            UnknownName: The corpus has no such split.
            CorpusError: Its files are damaged or were edited.
        """
        if name not in self.card.splits:
            raise UnknownName(f"split of {self.path.name}", name, self.splits)
        return Split(self.path, name, self.card.splits[name])

    @cached_property
    def sha256(self) -> str:
        """Hash of language, split names and split contents (audio included)."""
        parts = [self.card.language, *(f"{n}={s.sha256}" for n, s in self.card.splits.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def verify(self) -> None:
        """Hash every manifest again and compare it with the card (``open`` compares sizes only).

        Raises:
            CorpusError: A manifest differs.
        """
        for name, stats in self.card.splits.items():
            file = self.path / f"{name}.jsonl"
            if sha256(file) != stats.sha256:
                raise CorpusError(f"{file}: differs from its card. Prepare the corpus again.")

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r}, {self.card.language}, {self.card.minutes:.1f} min)"
