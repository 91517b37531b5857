"""The card of a corpus: what it is, how it was made, what was left out. Plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from xlasr.data.text import NORMALISER_VERSION
from xlasr.errors import CorpusError

FORMAT = 1
"""Version of the layout on disk; a reader refuses a newer one."""


@dataclass
class SplitStats:
    """Counts of one split.

    Attributes:
        utterances: Number of utterances.
        minutes: Their total length in minutes.
        groups: Number of groups (scenes, prompts, speakers, recordings).
        speakers: Number of different speakers; 0 where none is known.
        symbols: Number of characters of text.
        longest_s: The longest utterance in seconds.
        unseen: Characters of the headline text that train does not have.
        bytes: Size of the manifest.
        sha256: Hash of the manifest, which holds the hash of each clip's samples.
    """

    utterances: int
    minutes: float
    groups: int
    speakers: int
    symbols: int
    longest_s: float
    unseen: list[str]
    bytes: int
    sha256: str


@dataclass
class Card:
    """What a corpus says about itself.

    Attributes:
        language: BCP-47 tag.
        source: Where it comes from: a folder, a table or a source's name.
        licence: SPDX expression or words; "unknown" where nobody said.
        attribution: Whom to name, and how the material was changed.
        split_rule: How the sides were chosen, in words.
        group_rule: What a group is, in words.
        audio: "16 kHz 16-bit mono copies" or "references to the source files".
        splits: Counts per split; filled in when the corpus is written.
        alphabet: Character counts of the headline text of train; filled in likewise.
        quarantined: Unusable records by reason.
        dropped: Lines of dev and test left out because their text stands on another side.
        warnings: What a reader of results should know.
        created_by: Program and version.
        normaliser: Name and version of the headline normaliser.
        format: Version of the layout on disk.
    """

    language: str
    source: str = "unknown"
    licence: str = "unknown"
    attribution: str = ""
    split_rule: str = "given by the caller"
    group_rule: str = "given by the caller"
    audio: str = "references to the source files"
    splits: dict[str, SplitStats] = field(default_factory=dict)
    alphabet: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    created_by: str = ""
    normaliser: str = f"headline v{NORMALISER_VERSION}"
    format: int = FORMAT

    @property
    def minutes(self) -> float:
        """Total length of all splits in minutes."""
        return sum(stats.minutes for stats in self.splits.values())

    @property
    def is_transcribed(self) -> bool:
        """Whether anything of it has a text; recordings for learning without text have none."""
        return any(stats.symbols for stats in self.splits.values())

    def to_json(self) -> str:
        """Return the card as indented JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read ``card.json``.

        Raises:
            CorpusError: Missing, not JSON, of a newer format, or with fields missing or unknown.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            newer = int(content.get("format", 0)) > FORMAT
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorpusError(
                f"{path.parent}: not a corpus, it has no card.json."
                f" Make one: xlasr prepare SOURCE {path.parent} --language TAG"
            ) from error
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CorpusError(f"{path}: damaged ({error}). Prepare the corpus again.") from error
        if newer:
            raise CorpusError(f"{path}: written by a newer xlasr (format {content['format']}).")
        unknown = sorted(set(content) - {f.name for f in fields(cls)})
        if unknown:
            raise CorpusError(f"{path}: unknown fields {', '.join(unknown)}.")
        try:
            splits = {k: SplitStats(**v) for k, v in content.pop("splits", {}).items()}
            return cls(splits=splits, **content)
        except (TypeError, AttributeError) as error:
            raise CorpusError(f"{path}: damaged ({error}). Prepare the corpus again.") from error
