"""Which tiers of annotated recordings are meant: as the person says, or the only one there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xlasr.data.quarantine import Entry
from xlasr.data.readers.base import ReadOptions
from xlasr.errors import UsageError, did_you_mean

Files = Sequence[tuple[str, Sequence["Tier"]]]
"""(name of the file, its tiers) of each transcript."""

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Annotation:
    """A stretch of a recording and what is said in it.

    Attributes:
        where: Its place in its file, for messages ("annotation a12", "line 7").
        text: The transcript; may be empty.
        start_s: Where it begins, in seconds.
        end_s: Where it ends, in seconds; infinity is the end of the recording.
        speaker: Who speaks, where the annotation itself says so.
        custom: Anything else worth keeping.
    """

    where: str
    text: str
    start_s: float
    end_s: float
    speaker: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tier:
    """A layer of annotations that do not overlap.

    Attributes:
        name: As the file names it; empty where the format has no tiers.
        annotations: What was read.
        problems: What could not be read; reported if the tier is chosen.
        kind: Linguistic type; empty where there is none.
        speaker: The participant; None where unknown.
        tree: The tier at the top of its hierarchy; its own name where there is none.
        index: Its number in the file, from 0.
        channel: Channel of the recording, where the file says so.
        unusable: Why it holds no stretches of speech at all ("a point tier"); else empty.
        role: What xlasr itself wrote there: "text" (all such tiers are parts of one transcript) or
            "derived" from these (words, confidences); empty for tiers of others.
    """

    name: str
    annotations: list[Annotation] = field(default_factory=list)
    problems: list[Entry] = field(default_factory=list)
    kind: str = ""
    speaker: str | None = None
    tree: str = ""
    index: int = 0
    channel: int | None = None
    unusable: str = ""
    role: str = ""

    def __len__(self) -> int:
        return len(self.annotations) + len(self.problems)

    @property
    def first_text(self) -> str:
        """The first text, or what is wrong; empty where it has neither."""
        texts = (a.text.strip() for a in self.annotations)
        problem = self.problems[0].detail if self.problems else ""
        return next((text for text in texts if text), problem)


def choose_tiers(files: Files, options: ReadOptions) -> list[list[Tier]]:
    """Return the chosen tiers of each file; the person is told which these are.

    Without a choice the only tier with text is taken; of a file that xlasr wrote, all of its texts.
    With one, all tiers that fit everything that was said; but two of one hierarchy or one
    participant (say, words and their translation) only if both were named.

    Args:
        files: (name, tiers) of each file.
        options: Names, type, number and participant.

    Raises:
        UsageError: Several tiers could be meant, or the choice fits none.
    """
    wanted = _wanted(options)
    every = [tier for _, tiers in files for tier in tiers]
    known = {tier.name for tier in every}
    for name in options.tiers:
        if name not in known:
            raise UsageError(f"no tier {name!r}.{did_you_mean(name, known)}\n{_listing(files)}")
    chosen: list[list[Tier]] = []
    for file, tiers in files:
        fitting = [tier for tier in tiers if _fits(tier, options) and not tier.unusable]
        if not options.tiers and options.tier_type is None and options.tier_index is None:
            fitting = [tier for tier in fitting if tier.role != "derived"]
        with_text = [tier for tier in fitting if tier.first_text]
        doubt = _doubt(with_text, options)
        if doubt:
            names = ", ".join(repr(tier.name) for tier in doubt[:_SHOWN])
            names += ", ..." * (len(doubt) > _SHOWN)
            what = f"{wanted} fits several tiers" if wanted else "several tiers could be meant"
            raise UsageError(f"{file}: {what}: {names}.\n{_listing(files)}")
        chosen.append(fitting if wanted else with_text or fitting)
    if wanted and not any(chosen):
        unusable = [tier for tier in every if _fits(tier, options)]
        reason = f" {unusable[0].name!r} is {unusable[0].unusable}." if unusable else ""
        raise UsageError(f"no tier fits {wanted}.{reason}\n{_listing(files)}")
    _tell(every, [tier for tiers in chosen for tier in tiers], options)
    return chosen


def _wanted(options: ReadOptions) -> str:
    """Return the choice as it was typed; empty where there is none."""
    said = [f"--tier {name!r}" for name in options.tiers]
    if options.tier_type is not None:
        said.append(f"--tier-type {options.tier_type!r}")
    if options.tier_index is not None:
        said.append(f"--tier-index {options.tier_index}")
    if options.participant is not None:
        said.append(f"--participant {options.participant!r}")
    return " ".join(said)


def _fits(tier: Tier, options: ReadOptions) -> bool:
    return (
        (not options.tiers or tier.name in options.tiers)
        and options.tier_type in (None, tier.kind)
        and options.tier_index in (None, tier.index)
        and options.participant in (None, tier.speaker)
    )


def _doubt(tiers: Sequence[Tier], options: ReadOptions) -> Sequence[Tier]:
    """Return tiers of one file of which only one can be meant."""
    for i, one in enumerate(tiers):
        for other in tiers[:i]:
            if one.role == other.role == "text":
                alike = False
            elif one.name == other.name:
                alike = one.channel == other.channel
            else:
                of_one = one.tree == other.tree or (
                    one.speaker is not None and one.speaker == other.speaker
                )
                alike = not options.tiers and (options.tier_type is None or of_one)
            if alike:
                return [other, one] if options.tier_type or options.tiers else tiers
    return []


def _listing(files: Files) -> str:
    """Return a table of the tiers of all files, and how to choose."""
    rows: dict[tuple[str, str, str | None, str], list[Tier]] = {}
    for _, tiers in files:
        for tier in tiers:
            rows.setdefault((tier.name, tier.kind, tier.speaker, tier.unusable), []).append(tier)
    lines = ["Tiers found:"]
    for (name, kind, speaker, unusable), tiers in list(rows.items())[:_SHOWN]:
        numbers = sorted({tier.index for tier in tiers})
        parts = [
            f"{name!r} (number {' or '.join(map(str, numbers[:3]))}",
            f"type {kind!r}" if kind else "",
            f"participant {speaker!r}" if speaker else "",
            f"{sum(map(len, tiers))} annotations in {len(tiers)} file{'s' * (len(tiers) > 1)})",
        ]
        text = unusable or next((tier.first_text for tier in tiers if tier.first_text), "no text")
        lines.append(f"  {', '.join(filter(None, parts))}: {' '.join(text.split())[:60]}")
    if len(rows) > _SHOWN:
        lines.append(f"  ... and {len(rows) - _SHOWN} more")
    options = "--tier NAME (may be repeated), --tier-index N"
    if any(kind for _, kind, _, _ in rows):
        options += ", --tier-type TYPE"
    if any(speaker for _, _, speaker, _ in rows):
        options += ", --participant NAME"
    return "\n".join([*lines, f"Choose with {options}."])


def _tell(every: Sequence[Tier], chosen: Sequence[Tier], options: ReadOptions) -> None:
    used = {id(tier) for tier in chosen}
    groups = {
        "read": [tier for tier in every if id(tier) in used],
        "not read": [tier for tier in every if id(tier) not in used and len(tier)],
    }
    for what, tiers in groups.items():
        counts: Counter[str] = Counter()
        for tier in tiers:
            counts[tier.name] += len(tier)
        if any(counts):  # formats without tiers have one that has no name
            named = [f"{name!r} ({n})" for name, n in counts.most_common(_SHOWN)]
            options.say(f"tiers {what} (annotations): {', '.join(named)}")
