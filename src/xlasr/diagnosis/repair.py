"""The safe repairs, as a new corpus. The source is only read.

Safe is what leaves every word as it was said: composed letters, characters nobody sees, white
space, look-alike letters inside a word; and leaving out what cannot be used or what would flatter
the scores. What was left out stands in the new corpus's quarantine, every change in
``changes.jsonl``. Audio that lies inside the source corpus is copied, so that the new one can be
moved; other audio is referred to.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.quarantine import Quarantine
from xlasr.data.splits import SPLITS
from xlasr.data.text import normalise
from xlasr.data.writing import staging, write_manifests
from xlasr.diagnosis.audio import silent_rows
from xlasr.diagnosis.base import min_frames
from xlasr.diagnosis.material import Material
from xlasr.diagnosis.scripts import repair_words, without_invisible
from xlasr.diagnosis.splits import text_key
from xlasr.errors import CorpusError, UsageError

CHANGES = "changes.jsonl"


@dataclass(frozen=True)
class Change:
    """One change.

    Args:
        split: Side of the utterance.
        id: Its id.
        kind: What was done, the same words for all of a kind.
        before: The text as it was.
        after: The text as it is; "" where the utterance was left out.
    """

    split: str
    id: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class Repair:
    """A repaired corpus.

    Args:
        corpus: The new one.
        counts: How many changes of each kind, most frequent first.
        file: All of them, one JSON object a line.
    """

    corpus: Corpus
    counts: dict[str, int]
    file: Path


def repair_text(material: Material, text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text after it) for every repair that changes the text, in their order."""
    ratio, characters = material.thresholds.lookalike_ratio, material.characters
    steps = (
        ("NFC", lambda t: unicodedata.normalize("NFC", t)),
        ("invisible characters taken out", _visible),
        ("white space", lambda t: " ".join(t.split())),
        (
            "look-alike letters",
            lambda t: repair_words(t, material.script, characters, ratio),
        ),
        ("NFC", lambda t: unicodedata.normalize("NFC", t)),  # what has come together may compose
    )
    for kind, step in steps:
        after = step(text)
        if after != text:
            yield kind, after
            text = after


def _visible(text: str) -> str:
    """Without invisible characters; white space stays for its own step."""
    cleaned = without_invisible(text)
    return text if cleaned == " ".join(text.split()) else cleaned


def repair(material: Material, target: Path) -> Repair:
    """Write a new corpus with the safe repairs made.

    Args:
        material: What was examined; without the pass over the audio only texts are repaired.
        target: Folder to make.

    Raises:
        UsageError: Something is there already, or it lies inside the source.
        CorpusError: Nothing would be left.
    """
    target, source = target.absolute(), material.corpus
    if target == source.path or target.is_relative_to(source.path):
        raise UsageError(
            f"{target} lies inside the corpus that is repaired, which stays as it is. Name another "
            "folder"
        )
    quarantine = _inherited(source)
    with staging(target, overwrite=False) as folder:
        with (folder / CHANGES).open("w", encoding="utf-8") as file:
            work = _Work(material, folder, quarantine, file)
            splits = {name: work.split(name) for name in SPLITS}
            card = replace(source.card, splits={}, alphabet={}, dropped=work.dropped)
            card.created_by += "; xlasr check --fix" * ("--fix" not in card.created_by)
            write_manifests(folder, splits, card, quarantine)
        counts = dict(work.counts.most_common())
    return Repair(Corpus.open(target), counts, target / CHANGES)


def _inherited(corpus: Corpus) -> Quarantine:
    """What the source could not use and its notes, so that the new corpus's lists are complete."""
    quarantine = Quarantine()
    for name, take in (("quarantine", quarantine.add), ("notes", quarantine.note)):
        path = corpus.path / f"{name}.jsonl"
        try:
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
                take(**json.loads(line))
        except (OSError, ValueError, TypeError) as error:
            raise CorpusError(f"{path}: damaged ({error}). Prepare the corpus again.") from error
    return quarantine


class _Work:
    """One repair in progress: what is known of all sides, and what was done so far."""

    def __init__(
        self, material: Material, folder: Path, quarantine: Quarantine, file: TextIO
    ) -> None:
        self.material, self.folder = material, folder
        self.quarantine, self.file = quarantine, file
        self.counts: Counter[str] = Counter()
        self.dropped = dict(material.corpus.card.dropped)
        self._copied: set[Path] = set()
        self._texts: dict[str, set[bytes]] = {"train": set(), "test": set()}
        self._sounds: dict[str, set[bytes]] = {"train": set(), "test": set()}
        self._rows = dict(_first_rows(material.corpus))
        self._silent = None if material.sounds is None else silent_rows(material)
        self._errors = {
            (e.split, e.id): e.detail for e in (material.sounds.errors if material.sounds else ())
        }
        for name in self._texts:
            for row, utterance in self._numbered(name):
                text = self._text(utterance)
                if not self._unusable(name, row, replace(utterance, text=text)):
                    self._texts[name].add(text_key(text))
                    self._sounds[name].add(self._digest(row))
            self._sounds[name].discard(b"")

    def split(self, name: str) -> Iterator[Utterance]:
        """The utterances of one side as they will be written."""
        for row, utterance in self._numbered(name):
            text = utterance.text
            for kind, after in repair_text(self.material, text):
                self._note(Change(name, utterance.id, kind, text, after))
                text = after
            repaired = replace(utterance, text=text)
            if unusable := self._unusable(name, row, repaired):
                reason, detail = unusable
                self.quarantine.add(utterance.id, reason, detail)
                self._note(Change(name, utterance.id, f"left out: {reason}", utterance.text, ""))
            elif twice := self._twice(name, row, text):
                self.dropped[twice] = self.dropped.get(twice, 0) + 1
                self._note(Change(name, utterance.id, f"left out of {twice}", utterance.text, ""))
            else:
                yield replace(repaired, audio=self._audio(utterance.audio))

    def _numbered(self, name: str) -> Iterator[tuple[int, Utterance]]:
        yield from enumerate(self.material.side(name), start=self._rows.get(name, 0))

    def _text(self, utterance: Utterance) -> str:
        steps = [after for _, after in repair_text(self.material, utterance.text)]
        return steps[-1] if steps else utterance.text

    def _unusable(self, name: str, row: int, utterance: Utterance) -> tuple[str, str] | None:
        """(Reason, detail) where a clip can teach nothing."""
        if (name, utterance.id) in self._errors:
            return "bad audio", self._errors[name, utterance.id]
        if self._silent is not None and self._silent[row]:
            limit = self.material.thresholds.peak_dbfs
            return "silent audio", f"never louder than {limit:g} dBFS"
        if not normalise(utterance.text, self.material.form):
            return "empty text", repr(utterance.text)
        needed, given = min_frames(self.material, utterance)
        if needed > given:
            return "too much text", f"{needed} symbols in {given} frames: {utterance.text!r}"
        return None

    def _twice(self, name: str, row: int, text: str) -> str:
        """Why a line of dev or test goes: it stands in train, or (dev) in test; "" if it stays."""
        others = {"dev": ("train", "test"), "test": ("train",)}.get(name, ())
        for other in others:
            if text_key(text) in self._texts[other]:
                return f"{name}: text also in {other}"
            if self._digest(row) in self._sounds[other]:
                return f"{name}: audio also in {other}"
        return ""

    def _digest(self, row: int) -> bytes:
        sounds = self.material.sounds
        return b"" if sounds is None else sounds.table["digest"][row].tobytes()

    def _audio(self, path: Path) -> Path:
        """Where the audio of the new corpus is: a copy, if it lay inside the source."""
        source = self.material.corpus.path
        if not path.is_relative_to(source):
            return path
        copy = self.folder / path.relative_to(source)
        if copy not in self._copied:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            self._copied.add(copy)
        return copy

    def _note(self, change: Change) -> None:
        self.counts[change.kind] += 1
        self.file.write(json.dumps(asdict(change), ensure_ascii=False) + "\n")


def _first_rows(corpus: Corpus) -> Iterator[tuple[str, int]]:
    """Where each side begins in the table of the sounds."""
    row = 0
    for name in corpus.splits:
        yield name, row
        row += len(corpus.split(name))
