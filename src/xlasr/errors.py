"""Every error a user can meet, in one small tree.

::

    XlasrError                 exit code 1
    ├── DataError              recordings, transcripts, corpora
    │   ├── AudioError         one file that cannot be decoded
    │   │   └── OutOfRange     a part of it that does not lie inside it
    │   ├── VideoError         one file without pictures that can be decoded
    │   └── CorpusError        a corpus folder as a whole
    ├── BaseError              a pretrained model that does not load or does not fit
    │   └── HubUnreachable     a hub id, and no network
    ├── RunError               a run folder on disk
    │   ├── RunBusy            another process trains in it
    │   └── CheckpointError    damaged, missing, or of another recipe
    ├── TrainingStopped        a guard ended the training, with advice
    ├── Interrupted            Ctrl-C; the state is saved (exit code 130)
    └── UsageError             exit code 2: the call itself is wrong
        ├── ConfigError        a recipe; lists *all* problems
        └── UnknownName        a name that no registry knows, with close matches

A message says which record, what was found, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class XlasrError(Exception):
    """Base class; ``exit_code`` is what the command line returns."""

    exit_code = 1


class DataError(XlasrError):
    """Recordings or transcripts that cannot be used."""


class AudioError(DataError):
    """One audio file (or a part of it) that cannot be decoded."""


class OutOfRange(AudioError):
    """A part that was asked for does not lie inside its audio file.

    Args:
        message: What was asked for and what is there.
        ends_s: Where the file ends, in seconds; it may end before.
    """

    def __init__(self, message: str, ends_s: float) -> None:
        self.ends_s = ends_s
        super().__init__(message)


class VideoError(DataError):
    """One file whose video cannot be decoded, or that has none."""


class CorpusError(DataError):
    """A corpus folder that is missing, incomplete or inconsistent."""


class BaseError(XlasrError):
    """A pretrained model that does not load, or does not fit the recipe."""


class HubUnreachable(BaseError):
    """A hub id was given and the hub does not answer."""


class RunError(XlasrError):
    """A run folder that cannot be used as asked."""


class RunBusy(RunError):
    """Another live process is training in this run folder."""


class CheckpointError(RunError):
    """A checkpoint is damaged, missing, or belongs to another recipe or corpus."""


class TrainingStopped(XlasrError):
    """A guard ended the training; the message says why and what to try."""


class Interrupted(XlasrError):
    """Ctrl-C arrived; the state is saved and the run can be resumed."""

    exit_code = 130


class UsageError(XlasrError):
    """The call itself is wrong: an option, a name, a recipe."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe with problems; all of them are reported together.

    Args:
        source: The file or recipe name.
        problems: One line per problem.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  - {p}" for p in self.problems))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for close matches of ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


class UnknownName(UsageError):
    """A name that a registry does not know."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f"unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}."
        )
