"""What a check says: how bad it is, which records it concerns, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xlasr.diagnosis.thresholds import Thresholds

if TYPE_CHECKING:
    from xlasr.diagnosis.material import Material
    from xlasr.diagnosis.repair import Repair
    from xlasr.diagnosis.suspects import Ranked

Severity = Literal["blocking", "warning", "note"]
SEVERITIES: Sequence[Severity] = ("blocking", "warning", "note")


@dataclass(frozen=True, slots=True)
class Record:
    """One utterance that a finding concerns.

    Args:
        split: Its side.
        id: Its id.
        detail: What was found in it.
    """

    split: str
    id: str
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        severity: ``blocking``: training would fail or the numbers would be wrong; ``warning``:
            somebody should look; ``note``: good to know.
        name: Of the kind of defect; the same in every report.
        message: Plain words, with counts and the limit.
        records: Utterances concerned, all of them.
        advice: What to do.
        fixable: Whether ``--fix`` removes it.
    """

    severity: Severity
    name: str
    message: str
    records: Sequence[Record] = ()
    advice: str = ""
    fixable: bool = False


def graded(share: float, limit: float) -> Severity:
    """``blocking`` where more than ``limit`` of the records are concerned, else ``warning``."""
    return "blocking" if share > limit else "warning"


def few(items: Iterable[str], shown: int = 5) -> str:
    """The first items and how many more: "a, b, c and 4 more"."""
    listed = list(items)
    more = len(listed) - shown
    return ", ".join(listed[:shown]) + (f" and {more} more" if more > 0 else "")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun: "1 clip", "1,706 clips"."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


@dataclass
class Diagnosis:
    """Everything that was found, worst first.

    Args:
        corpus: Its folder.
        title: What was looked at, in words.
        findings: Blocking ones first; within a severity in the order of the checks.
        passed: Names of the checks that found nothing.
        skipped: Checks that could not be made, and why.
        thresholds: The limits that were used.
        suspects: Utterances by how badly text and sound agree, the worst first; None where no run
            was asked.
        suspects_note: What to know about them.
    """

    corpus: Path
    title: str
    findings: list[Finding]
    passed: list[str]
    skipped: list[str]
    thresholds: Thresholds
    suspects: list[Ranked] | None = None
    suspects_note: str = ""
    material: Material | None = field(default=None, repr=False, compare=False)

    @property
    def blocking(self) -> list[Finding]:
        """Those that forbid training."""
        return [f for f in self.findings if f.severity == "blocking"]

    @property
    def exit_code(self) -> int:
        """1 where something is blocking, else 0."""
        return 1 if self.blocking else 0

    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}

    def named(self, name: str) -> Finding | None:
        """The finding of a name, or None."""
        return next((f for f in self.findings if f.name == name), None)

    def repair(self, target: str | Path) -> Repair:
        """Write a new corpus with the safe repairs made; see ``repair.repair``."""
        from xlasr.diagnosis.repair import repair

        if self.material is None:
            raise ValueError("this diagnosis was made without a corpus")
        return repair(self.material, Path(target))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; numbers that are infinite become None."""
        found: dict[str, Any] = {
            "corpus": str(self.corpus),
            "title": self.title,
            "exit_code": self.exit_code,
            "counts": self.counts(),
            "findings": [asdict(f) for f in self.findings],
            "passed": self.passed,
            "skipped": self.skipped,
            "thresholds": asdict(self.thresholds),
        }
        if self.suspects is not None:
            found["suspects"] = [entry.to_dict() for entry in self.suspects]
            found["suspects_note"] = self.suspects_note
        return found
