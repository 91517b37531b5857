"""Write a corpus: in a temporary folder beside it, fsynced, then renamed. Never half a corpus."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from xlasr.data import audio
from xlasr.data.card import Card, SplitStats
from xlasr.data.corpus import INDEX, Corpus, Utterance, to_cut
from xlasr.data.quarantine import Quarantine
from xlasr.data.splits import SPLITS
from xlasr.data.text import normalise
from xlasr.errors import CorpusError, UsageError
from xlasr.files import sync


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything but an empty folder, or a corpus when asked to.

    Raises:
        UsageError: ``path`` holds something else, or a corpus and ``overwrite`` is off.
    """
    if path.is_file() or path.is_symlink():
        raise UsageError(f"{path}: a file or link is there. Give a folder that does not exist yet.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "card.json").is_file():
        raise UsageError(
            f"{path}: the folder is not empty and is no corpus, so it is left alone."
            " Give a folder that does not exist yet."
        )
    if not overwrite:
        raise UsageError(
            f"{path}: a corpus is there already. Replace it with --overwrite (overwrite=True), or"
            " name another folder."
        )


@contextmanager
def staging(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` if the block ends well, else vanishes."""
    check_target(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written there ({error}).") from error
    try:
        yield folder
        for file in folder.glob("*.*"):
            sync(file)
        folder.chmod(0o755)  # mkdtemp makes it private
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
            path.rename(old / "corpus")
            folder.rename(path)
            shutil.rmtree(old)
        else:
            folder.rename(path)
        sync(path.parent)
    except OSError as error:
        raise CorpusError(
            f"{path}: the corpus could not be written ({error}); nothing was left behind."
            " Is the disk full, or the folder not yours?"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _version() -> str:
    try:
        return importlib.metadata.version("xlasr")
    except importlib.metadata.PackageNotFoundError:
        return "from a source folder"


def write_corpus(
    path: str | Path,
    splits: Mapping[str, Iterable[Utterance]],
    card: Card,
    *,
    quarantine: Quarantine | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Write utterances whose audio lies elsewhere as a corpus that refers to it.

    Args:
        path: The corpus folder to make.
        splits: Utterances of "train", "dev" and "test"; each may be a generator.
        card: Language, source, licence and rules; the counts are filled in.
        quarantine: What could not be used.
        overwrite: Replace a corpus that is there.

    Raises:
        UsageError: Something is there already, or a split's name is unknown.
        CorpusError: An id twice, an empty text, or no utterance at all.
    """
    path = Path(path).absolute()
    with staging(path, overwrite=overwrite) as folder:
        write_manifests(folder, splits, card, quarantine or Quarantine())
    return Corpus.open(path)


def write_manifests(
    folder: Path,
    splits: Mapping[str, Iterable[Utterance]],
    card: Card,
    quarantine: Quarantine,
    *,
    recordings: Mapping[Path, tuple[int, int]] | None = None,
    has_text: bool = True,
) -> None:
    """Write manifests, indices, quarantine list and card into ``folder``.

    Args:
        folder: Where to write; audio inside it is referred to relatively.
        splits: Utterances per split.
        card: Completed here with counts; written last.
        quarantine: What could not be used, and notes.
        recordings: (sample rate, samples) of audio files; others are measured by decoding them.
        has_text: An utterance without text is an error; else none has one.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise UsageError(f"unknown splits {', '.join(unknown)}; allowed: {', '.join(SPLITS)}.")
    known = dict(recordings or {})
    letters: dict[str, Counter[str]] = {}
    seen: set[bytes] = set()
    stats: dict[str, SplitStats] = {}
    for name in SPLITS:
        letters[name] = Counter()
        written = _write_split(
            folder, name, splits.get(name, ()), letters[name], seen, known, has_text
        )
        if written.utterances:
            written.unseen = sorted(set(letters[name]) - set(letters["train"]))
            stats[name] = written
        else:
            (folder / f"{name}.jsonl").unlink()
    if not stats:
        raise CorpusError(f"{card.source}: not a single utterance, so there is no corpus to write.")
    alphabet = dict(sorted(letters["train"].items()))
    card = replace(
        card,
        splits=stats,
        alphabet=alphabet,
        quarantined=quarantine.counts(),
        created_by=card.created_by or f"xlasr {_version()}",
    )
    quarantine.save(folder / "quarantine.jsonl")
    quarantine.save_notes(folder / "notes.jsonl")
    (folder / "card.json").write_text(card.to_json(), encoding="utf-8")


def _write_split(
    folder: Path,
    name: str,
    utterances: Iterable[Utterance],
    letters: Counter[str],
    seen: set[bytes],
    recordings: dict[Path, tuple[int, int]],
    has_text: bool,
) -> SplitStats:
    offset = 0
    index: list[tuple[int, float, int]] = []
    groups: set[str] = set()
    speakers: set[str] = set()
    digest = hashlib.sha256()
    with (folder / f"{name}.jsonl").open("wb") as file:
        for utterance in utterances:
            key = hashlib.blake2b(utterance.id.encode(), digest_size=12).digest()
            if key in seen:
                raise CorpusError(f"two utterances have the id {utterance.id!r}; ids are unique.")
            if has_text and not utterance.text.strip():
                raise CorpusError(f"utterance {utterance.id!r} has no text.")
            seen.add(key)
            if utterance.audio not in recordings:
                recordings[utterance.audio] = audio.measure(utterance.audio)
            cut = to_cut(utterance, folder, recordings[utterance.audio])
            line = json.dumps(cut, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
            index.append((offset, cut["duration"], len(utterance.text)))
            offset += len(line)
            groups.add(utterance.group)
            speakers.update([utterance.speaker] if utterance.speaker else [])
            letters.update(normalise(utterance.text))
    table = np.array(index, dtype=INDEX)
    if len(table):
        np.save(folder / f"{name}.index.npy", table, allow_pickle=False)
    return SplitStats(
        utterances=len(table),
        minutes=round(float(table["duration_s"].sum(dtype=np.float64)) / 60, 4),
        groups=len(groups),
        speakers=len(speakers),
        symbols=int(table["n_symbols"].sum(dtype=np.int64)),
        longest_s=round(float(table["duration_s"].max(initial=0.0)), 3),
        unseen=[],
        bytes=offset,
        sha256=digest.hexdigest(),
    )
