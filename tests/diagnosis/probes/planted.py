"""Corpora whose sounds hold what is asked: a voice is a height, a word or letter a melody."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import write_wav
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.writing import write_corpus
from xlasr.diagnosis.probes.tasks import Clip

Lines = list[tuple[str, str, str]]
"""Id, side and text of each clip."""


def sing(text: str, voice: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    """Every letter 80 ms of a tone of its own, all of them higher or lower by the voice."""
    rng = np.random.default_rng(seed)
    n = 1280
    heights = [voice * (300 + 90 * (ord(c) % 32)) if c != " " else 0.0 for c in text.lower()]
    tones = [0.3 * np.sin(2 * np.pi * h * np.arange(n) / 16_000) for h in heights]
    return (np.concatenate(tones) + 0.003 * rng.standard_normal(n * len(text))).astype(np.float32)


def corpus_of(
    folder: Path,
    lines: Lines,
    *,
    language: str = "es",
    source: str = "asterisk-es",
    speaker: str | None = "Ana",
    voice: float = 1.0,
    custom: dict[str, Any] | None = None,
) -> Path:
    """A corpus of one voice; the group of a clip is its id."""
    splits: dict[str, list[Utterance]] = {}
    sounds = folder.parent / f"{folder.name}-sound"
    sounds.mkdir(parents=True)
    for name, side, text in lines:
        path = sounds / f"{name.replace('/', '_')}.wav"
        samples = sing(text, voice, zlib.crc32(name.encode()))
        write_wav(path, samples)
        one = Utterance(
            name,
            path,
            0.0,
            len(samples) / 16_000,
            text,
            language,
            speaker,
            name,
            custom=custom or {},
        )
        splits.setdefault(side, []).append(one)
    write_corpus(folder, splits, Card(language=language, source=source))
    return folder


def words(n: int, prefix: str = "digits/") -> Lines:
    """Words of three letters; every fourth is dev, every fourth test."""
    sides = ("train", "dev", "train", "test")
    made = [f"{a}{b}{c}" for a in "bdfgl" for b in "aeiou" for c in "nrst"]
    return [(f"{prefix}{i}", sides[i % 4], made[(7 * i) % len(made)]) for i in range(n)]


def sentences(family: str, n: int, word: str) -> Lines:
    """Sentences of a family, all different, that share a word."""
    sides = ("train", "train", "train", "dev", "test")
    return [
        (f"{family}-{i}", sides[i % 5], f"{word} {text}") for i, (_, _, text) in enumerate(words(n))
    ]


def with_changes(path: Path, to: Path, **changes: Any) -> Path:
    """The same corpus in a new folder, with other facts of every clip."""
    corpus = Corpus.open(path)
    splits = {
        side: [replace(one, **changes) for one in corpus.split(side)] for side in corpus.splits
    }
    write_corpus(to, splits, Card(language=corpus.language, source=corpus.card.source))
    return to


def keys(clips: Sequence[Clip]) -> set[str]:
    """Ids of clips."""
    return {clip.utterance.id for clip in clips}
