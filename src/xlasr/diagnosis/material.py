"""What a check is given. Everything is read lazily; nothing here holds the texts of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from xlasr.data.corpus import Corpus, Utterance
from xlasr.diagnosis.findings import Finding
from xlasr.diagnosis.scripts import letters_by_script
from xlasr.diagnosis.sound import Sounds
from xlasr.diagnosis.thresholds import Thresholds

if TYPE_CHECKING:
    from xlasr.diagnosis.fit import BaseFit


@dataclass
class Material:
    """A corpus under examination.

    Args:
        corpus: Read, never written.
        thresholds: The limits.
        form: Named normaliser of the text that a model will learn.
        base: What the base can hold; None where none was named.
        pieces: Size of the SentencePiece vocabulary that is planned; None for none.
        sounds: What the pass over the audio measured; None where it was left out.
        speeds: Lowest and highest factor of the recipe's speed perturbation: the lowest makes clips
            longest, the highest leaves the fewest frames.
    """

    corpus: Corpus
    thresholds: Thresholds = field(default_factory=Thresholds)
    form: str = "headline"
    base: BaseFit | None = None
    pieces: int | None = None
    sounds: Sounds | None = None
    speeds: tuple[float, float] = (1.0, 1.0)

    def utterances(self) -> Iterator[tuple[str, Utterance]]:
        """Every utterance with its side, in the order of the manifests."""
        for name in self.corpus.splits:
            for utterance in self.corpus.split(name):
                yield name, utterance

    def side(self, name: str) -> Iterator[Utterance]:
        """The utterances of one side; nothing where there is no such side."""
        if name in self.corpus.splits:
            yield from self.corpus.split(name)

    @cached_property
    def n_utterances(self) -> int:
        """Of all sides."""
        return sum(stats.utterances for stats in self.corpus.card.splits.values())

    @cached_property
    def characters(self) -> Counter[str]:
        """How often each character stands in the texts as they were given, all sides."""
        found: Counter[str] = Counter()
        for _, utterance in self.utterances():
            found.update(utterance.text)
        return found

    @cached_property
    def script(self) -> str:
        """The writing system of most letters ("LATIN"); "" for a corpus without letters."""
        scripts = letters_by_script(self.characters)
        return max(scripts, key=lambda name: (scripts[name], name)) if scripts else ""

    def share(self, n: int) -> float:
        """``n`` as a share of all utterances."""
        return n / max(1, self.n_utterances)


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: What it looks for, as the page names it where nothing was found.
        run: From the material to findings.
        needs: ``sound`` where the pass over the audio must have been made, ``base`` where a base
            must be named.
    """

    name: str
    run: Callable[[Material], Iterable[Finding]]
    needs: str = ""
