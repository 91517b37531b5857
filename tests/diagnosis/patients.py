"""A small corpus in perfect health, and what it takes to make it ill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import write_wav
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.writing import write_corpus
from xlasr.diagnosis import Diagnosis, Thresholds, check

WORDS = (
    "ryba plave pod lodí a kapitán hledá starou mapu protože voda stoupá velmi rychle žralok čeká "
    "u skály dnes večer půjdeme domů přes most který vede k malému přístavu kde bydlí náš děda "
    "šťastně křičel že ďábel ukradl zlatý klíč od truhly plné mincí úplně zbytečně řekla moje "
    "sestra bílá věž stojí nad mořem já tomu nevěřím jaká škoda že ještě prší"
).split()
SMALL = Thresholds(test_minutes=0.1, test_groups=4, train_minutes=1.0)
"""So that minutes of speech are enough to be in order."""
Splits = dict[str, list[Utterance]]


def voice(
    seconds: float, seed: int, level: float = 0.1, noise: float = 3e-4
) -> NDArray[np.float32]:
    """Syllables of coloured noise over a noise floor, with 0.1 s of it at both ends."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 16_000)
    time = np.arange(n) / 16_000
    syllables = np.maximum(0, np.sin(2 * np.pi * 4 * time)) ** 0.5
    syllables *= (time > 0.1) & (time < seconds - 0.1)
    sound = level * syllables * rng.standard_normal(n) + noise * rng.standard_normal(n)
    return np.clip(sound, -0.99, 0.99).astype(np.float32)


def spoken(folder: Path, name: str, text: str, side: str, seed: int, **more: Any) -> Utterance:
    """An utterance of 12 letters a second with its audio."""
    samples = more.pop("samples", None)
    if samples is None:
        samples = voice(0.2 + len(text) / 12, seed)
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, samples)
    facts = {"speaker": f"{side}-{seed % 4}", "group": f"{side}-{seed % 5}", **more}
    return Utterance(name, path, 0.0, len(samples) / 16_000, text, "cs", **facts)


def healthy(folder: Path, n_train: int = 60) -> Splits:
    """Three sides with different sentences, voices and groups."""
    rng = np.random.default_rng(0)
    splits: Splits = {}
    for number, (side, n) in enumerate((("train", n_train), ("dev", 8), ("test", 8))):
        splits[side] = [
            spoken(
                folder,
                f"{side}-{i}",
                " ".join(rng.choice(WORDS, 7, replace=False)).capitalize() + ".",
                side,
                seed=1000 * number + i,
            )
            for i in range(n)
        ]
    return splits


def rewrite(splits: Splits, name: str, **changes: Any) -> None:
    """Change one utterance in place."""
    for side in splits.values():
        for i, utterance in enumerate(side):
            if utterance.id == name:
                side[i] = replace(utterance, **changes)


def resound(splits: Splits, name: str, samples: NDArray[np.float32], folder: Path) -> None:
    """Give one utterance another sound, in a file of its own."""
    path = folder / f"{name}-again.wav"
    write_wav(path, samples)
    rewrite(splits, name, audio=path, duration_s=len(samples) / 16_000)


def written(folder: Path, splits: Splits, language: str = "cs") -> Corpus:
    """The corpus on disk."""
    return write_corpus(folder, splits, Card(language=language, source="test"))


def examine(corpus: Corpus, **more: Any) -> Diagnosis:
    """Check with limits that fit minutes of speech."""
    return check(corpus.path, **{"thresholds": SMALL, **more})
