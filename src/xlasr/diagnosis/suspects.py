"""Transcripts that do not fit the sound, by a trained CTC run: for a person to listen to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xlasr.data.corpus import Corpus
from xlasr.diagnosis.findings import Record
from xlasr.errors import AudioError, RunError


@dataclass(frozen=True)
class Ranked:
    """One utterance.

    Args:
        split: Its side.
        id: Its id.
        score: As ``alignment.suspects.Suspect.score``: at most 0, low is suspicious, minus
            infinity where the text does not fit into the sound at all.
        text: Its transcript.
        heard: What the run hears.
    """

    split: str
    id: str
    score: float
    text: str
    heard: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: None."""
        return asdict(self) | {"score": self.score if math.isfinite(self.score) else None}


def rank(
    corpus: Corpus,
    run: Path,
    splits: Sequence[str],
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Ranked], str, list[Record]]:
    """Rank utterances by how badly text and sound agree, the worst first.

    Args:
        corpus: A corpus.
        run: A finished CTC run of the same language.
        splits: Sides to look at.
        progress: Called with the seconds of each utterance.

    Returns:
        The ranking over all sides, what a reader should know about it, and the clips that could
        not be read, with the reason.

    Raises:
        RunError: The run is not finished.
        UsageError: It is no CTC run.
        UnknownName: No such side.
    """
    from xlasr.alignment.suspects import suspects
    from xlasr.models.run import load_model

    if not (run / "model").exists():
        raise RunError(f"{run} is no finished run; finish it with `xlasr adapt --resume {run}`")
    model = load_model((run / "model").resolve())
    found, unread = [], []
    for side, utterance in ((name, u) for name in splits for u in corpus.split(name)):
        try:
            (s,) = suspects(model, [utterance], progress=progress)
        except AudioError as error:
            unread.append(Record(side, utterance.id, str(error)))
            if progress:
                progress(utterance.duration_s)
            continue
        found.append(Ranked(side, s.id, s.score, s.text, s.heard))
    note = _knows(corpus, run) if "train" in splits else ""
    return sorted(found, key=lambda entry: entry.score), note, unread


def _knows(corpus: Corpus, run: Path) -> str:
    """Whether the run was trained on these transcripts."""
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        same = facts["corpus"]["sha256"] == corpus.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not same:
        return ""
    return (
        "this run has learnt the transcripts of train, mistakes included, so mistakes there stand "
        "out less; a run of another corpus, or of fewer epochs, finds more"
    )
