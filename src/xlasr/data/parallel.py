"""Text without sound as training data: pairs of a sentence and its translation, or plain lines.

A file of pairs is UTF-8 with ``source<TAB>target`` on every line; a line that is not that is an
error, for behind it every pair may be shifted. What is merely poor is left out and counted
(``clean``). The limits are wide: of the human translations of the free dialogues (ten languages,
1,500 to 1,900 pairs each) they take at most nine for their length, and for their language at most
7 in 1,000, which are quotations, codes and laughter; of text in a wrong language they find 95 to
100 % of the lines that are long enough (Spanish for Italian is the hardest).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import overload

import numpy as np
from numpy.typing import NDArray

from xlasr.data.corpus import Corpus
from xlasr.data.language import identifier, is_near, known_as
from xlasr.data.splits import side_of
from xlasr.data.text import normalise, raw
from xlasr.errors import DataError
from xlasr.files import sha256, write_text

CHARACTERS_PER_S = 15.0
"""Characters of text that cost as much as a second of speech. It is what is spoken
in one, pauses apart (the corpora have 11 to 16), so ``batch_s`` means batches of the usual size."""
LENGTH_RATIO = 3.0
"""A target that is this many times longer or shorter, against its source, than the median pair of
the file is no translation ..."""
LENGTH_FROM = 20
"""... where the longer side has this many characters: "ESP" may well be "Paranormální jevy"."""
LANGUAGE_FROM = 30
"""Characters from which a single line is judged by the identifier ..."""
LANGUAGE_PROBABILITY = 0.01
"""... and left out if its language, and those that are like it, are less probable than this."""
_TOLD = 5  # lines that an error names


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of text to learn, and what it is made from.

    Attributes:
        source: The sentence in another language; the line itself where there is none.
        text: The target.
    """

    source: str
    text: str

    @property
    def group(self) -> str:
        """What an amount of text is taken by: every line is its own group."""
        return self.text


@dataclass(frozen=True, eq=False)
class ParallelText(Sequence[Pair]):
    """Pairs of one file, in its order: the split of a corpus that has no sound.

    Attributes:
        path: The file, or a corpus folder.
        sha256: Of its content.
        pairs: All of them.
        is_pairs: Whether the sources are another language's.
        left_out: How many lines ``clean`` left out, by reason.
        notes: What could not be judged.
    """

    path: Path
    sha256: str
    pairs: tuple[Pair, ...]
    is_pairs: bool
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return self.path.name

    @property
    def durations_s(self) -> NDArray[np.float32]:
        """What each pair costs, in seconds of speech: by its longer side."""
        longer = [max(len(pair.source), len(pair.text)) for pair in self.pairs]
        return np.asarray(longer, dtype=np.float32) / np.float32(CHARACTERS_PER_S)

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self.pairs[index]


def read_pairs(path: str | Path) -> ParallelText:
    """Read ``source<TAB>target`` lines.

    Raises:
        DataError: The file cannot be read, or has lines that are no pair; it names the first ones.
    """
    path = Path(path)
    pairs, wrong = [], []
    for number, line in enumerate(_lines(path), start=1):
        sides = [raw(side) for side in line.split("\t")]
        if len(sides) != 2:
            wrong.append(f"line {number} has {len(sides) - 1} tabs: {line[:60]!r}")
        elif not all(sides):
            wrong.append(f"line {number} has an empty {'target' if sides[0] else 'source'}")
        else:
            pairs.append(Pair(*sides))
    if wrong:
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise DataError(
            f"{path}: {len(wrong)} of its lines are no source<TAB>target pair: "
            f"{'; '.join(wrong[:_TOLD])}{more}. Mend or remove these lines: where sides are "
            "unequal, the pairs behind them may be shifted"
        )
    return ParallelText(path, sha256(path), _some(pairs, path), is_pairs=True)


def read_lines(path: str | Path) -> ParallelText:
    """Read plain text, a sentence a line; of a corpus folder, the transcripts of ``train``.

    Raises:
        DataError: It cannot be read, or there is no text in it.
    """
    path = Path(path)
    if path.is_dir():
        corpus = Corpus.open(path)
        lines = [u.text for u in corpus.split("train")]
        digest = corpus.sha256
    else:
        lines = list(_lines(path))
        digest = sha256(path)
    found = [raw(line) for line in lines]
    pairs = [Pair(line, line) for line in found if line]
    empty = {"empty line": len(found) - len(pairs)} if len(pairs) < len(found) else {}
    return ParallelText(path, digest, _some(pairs, path), is_pairs=False, left_out=empty)


def clean(text: ParallelText, language: str) -> ParallelText:
    """Leave out pairs that teach nothing right: counted, each under the first reason met.

    Args:
        text: As it was read.
        language: BCP-47 tag of the targets.

    Raises:
        DataError: Nothing is left.
    """
    notes = list(text.notes)
    usual = median(len(p.text) / len(p.source) for p in text)
    foreign = _foreign(language, notes)
    seen: set[bytes] = set()
    kept: list[Pair] = []
    left_out = dict(text.left_out)
    for pair in text:
        ratio = len(pair.text) / len(pair.source) / usual
        key = hashlib.sha256(f"{normalise(pair.source)}\t{normalise(pair.text)}".encode()).digest()
        why = ""
        if key in seen:
            why = "said before in the file"
        elif _longer(pair) >= LENGTH_FROM and max(ratio, 1 / ratio) > LENGTH_RATIO:
            why = f"over {LENGTH_RATIO:g} times longer or shorter than usual for its source"
        elif len(pair.text) >= LANGUAGE_FROM and foreign(pair.text):
            why = f"not in {language}"
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            kept.append(pair)
            seen.add(key)
    if not kept:
        told = ", ".join(f"{n} {why}" for why, n in left_out.items())
        raise DataError(f"{text.path}: no pair is left to train on ({told})")
    return replace(text, pairs=tuple(kept), left_out=left_out, notes=tuple(notes))


def training_pairs(
    sources: Mapping[str, tuple[str, str]],
    targets: Mapping[str, tuple[str, str]],
    fold: str | None = None,
) -> tuple[list[Pair], dict[str, int]]:
    """Pair the lines of two languages that have the same key, of groups of training only.

    The side of a group is the same in every language (``splits.side_of``), so that no line of a
    test or dev group gets in; nor does a line of a training group that is said in one of those
    groups too, in either language.

    Args:
        sources: {key: (group, text)} of one language, all groups.
        targets: The same of the other.
        fold: As for ``prepare``.

    Returns:
        Pairs in the order of the targets, and how many were left out, by reason.
    """
    held_out: list[set[str]] = []
    for lines in (sources, targets):
        heard = (text for group, text in lines.values() if side_of(group, fold=fold) != "train")
        held_out.append({normalise(text) for text in heard})
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for key, (group, target) in targets.items():
        _, source = sources.get(key, ("", ""))
        sides = [raw(source), raw(target)]
        if side_of(group, fold=fold) != "train":
            left_out["of a dev or test group"] += 1
        elif not all(normalise(side) for side in sides):
            left_out["without words on one side"] += 1
        elif any(normalise(s) in held for s, held in zip(sides, held_out, strict=True)):
            left_out["said in a dev or test group too"] += 1
        else:
            pairs.append(Pair(*sides))
    return pairs, dict(left_out)


def write_pairs(pairs: Iterable[Pair], path: Path) -> None:
    """Write what ``read_pairs`` reads."""
    write_text(path, "".join(f"{pair.source}\t{pair.text}\n" for pair in pairs))


def _foreign(expected: str, notes: list[str]) -> Callable[[str], bool]:
    """Return a function that says whether a line is in another language; never, where unknown."""
    try:
        judge = identifier()
    except DataError as error:
        notes.append(f"nobody has checked that the text is in {expected!r}: {error}")
        return lambda line: False
    labels = set(judge.labels)
    label = known_as(expected, labels)
    if not label:
        notes.append(f"the identifier does not know {expected!r}; its lines are not judged")
        return lambda line: False
    alike = {name for name in labels if is_near(name, label)}

    def foreign(line: str) -> bool:
        return bool(sum(p for name, p in judge.rank(line) if name in alike) < LANGUAGE_PROBABILITY)

    return foreign


def _longer(pair: Pair) -> int:
    return max(len(pair.source), len(pair.text))


def _some(pairs: Sequence[Pair], path: Path) -> tuple[Pair, ...]:
    if not pairs:
        raise DataError(f"{path}: there is no text in it")
    return tuple(pairs)


def _lines(path: Path) -> Iterator[str]:
    r"""Lines as ``\n`` ends them: a translation may well hold Unicode's other separators."""
    try:
        content = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text: {error}") from error
    if content:
        yield from (line.rstrip("\r") for line in content.removesuffix("\n").split("\n"))
