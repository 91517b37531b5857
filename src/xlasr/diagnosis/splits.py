"""What stands on both sides, and sides that are missing or small."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

from xlasr.data.corpus import Utterance
from xlasr.data.text import normalise
from xlasr.diagnosis.audio import sounds_of
from xlasr.diagnosis.findings import Finding, Record, count, few
from xlasr.diagnosis.material import Check, Material

_LEARNT = {"dev": ("train", "test"), "test": ("train",)}
"""Whose line goes where it stands twice, as ``prepare`` decides: dev gives way to test."""


def sides(material: Material) -> Iterator[Finding]:
    """No train or dev, or too little test to say anything."""
    limits, stats = material.thresholds, material.corpus.card.splits
    if "train" not in stats:
        yield Finding(
            "blocking",
            "no train",
            "there is not one utterance to train on",
            advice="prepare the corpus again with --group-by something finer",
        )
    elif stats["train"].minutes < limits.train_minutes:
        yield Finding(
            "note",
            "little to train on",
            f"train has {stats['train'].minutes:.1f} minutes; below {limits.train_minutes:g} "
            "even the best recipes stay poor",
            advice="transcribe more, or mix in synthetic speech",
        )
    if "dev" not in stats:
        yield Finding(
            "blocking",
            "no dev",
            "there is no dev, and training chooses its best weights on it",
            advice="prepare the corpus again; a tenth of the speech will do",
        )
    if "test" not in stats:
        yield Finding(
            "warning",
            "no test",
            "there is no test, so nothing will say how good the model is",
            advice="keep back a fifth of the speech",
        )
        return
    test = stats["test"]
    if test.minutes < limits.test_minutes or test.groups < limits.test_groups:
        yield Finding(
            "note",
            "small test",
            f"test has {test.minutes:.1f} minutes in {count(test.groups, 'group')}; below "
            f"{limits.test_minutes:g} minutes and {limits.test_groups} groups an error rate has "
            "an interval too wide to compare models",
            advice="compare models by their intervals, or transcribe more for test",
        )


def text_key(text: str) -> bytes:
    """What two transcripts share that are the same but for case and punctuation; b"" for none."""
    form = normalise(text)
    return hashlib.blake2b(form.encode(), digest_size=12).digest() if form else b""


def repeated_texts(material: Material) -> Iterator[Finding]:
    """Lines of dev and test that a model has learnt by heart."""
    keys: dict[str, set[bytes]] = {
        side: {text_key(u.text) for u in material.side(side)} - {b""} for side in ("train", "test")
    }
    found = []
    for side, others in _LEARNT.items():
        for utterance in material.side(side):
            key = text_key(utterance.text)
            where = [other for other in others if key in keys[other]]
            if where:
                found.append(
                    Record(side, utterance.id, f"also in {where[0]}: {utterance.text[:40]!r}")
                )
    if found:
        yield Finding(
            "blocking",
            "same text on two sides",
            f"{count(len(found), 'line')} of dev and test with a text that train (or, for dev, "
            "test) has too: a model knows it by heart, and its scores are too good",
            found,
            "leave them out of dev and test",
            fixable=True,
        )


def repeated_audio(material: Material) -> Iterator[Finding]:
    """The same samples twice: on two sides, or with two transcripts."""
    table = sounds_of(material).table
    first: dict[bytes, tuple[str, str, bytes]] = {}
    across, contradicting, twice = [], [], []
    for row, (side, utterance) in enumerate(material.utterances()):
        if not table["read"][row] or table["peak_dbfs"][row] < material.thresholds.peak_dbfs:
            continue  # silent clips are all alike
        key, text = table["digest"][row].tobytes(), text_key(utterance.text)
        if key not in first:
            first[key] = side, utterance.id, text
            continue
        other_side, other, other_text = first[key]
        record = Record(side, utterance.id, f"the same as {other} of {other_side}")
        if side != other_side:
            across.append(record)
        elif text != other_text:
            contradicting.append(record)
        else:
            twice.append(record)
    if across:
        yield Finding(
            "blocking",
            "same audio on two sides",
            f"{count(len(across), 'clip')} with exactly the samples of a clip on another side: "
            "the test is on what was learnt",
            across,
            "leave them out of dev and test",
            fixable=True,
        )
    if contradicting:
        yield Finding(
            "warning",
            "same audio, two transcripts",
            f"{count(len(contradicting), 'clip')} with exactly the samples of another clip and "
            "another transcript: one of the two is wrong",
            contradicting,
            "listen, and keep the right one",
        )
    if twice:
        yield Finding(
            "note",
            "same audio twice",
            f"{count(len(twice), 'clip')} twice on the same side: they count double",
            twice,
            "leave the copies out",
        )


def _shared(
    material: Material, of: Callable[[Utterance], Hashable]
) -> tuple[list[str], list[Record]]:
    seen: dict[Hashable, set[str]] = defaultdict(set)
    for side, utterance in material.utterances():
        if of(utterance):
            seen[of(utterance)].add(side)
    both = {key for key, where in seen.items() if "train" in where and len(where) > 1}
    found = [
        Record(side, utterance.id, str(of(utterance)))
        for side, utterance in material.utterances()
        if side != "train" and of(utterance) in both
    ]
    return sorted(map(str, both)), found


def speakers(material: Material) -> Iterator[Finding]:
    """Voices of train in dev or test."""
    names, found = _shared(material, lambda utterance: utterance.speaker)
    if names:
        held_out = sum(1 for side in ("dev", "test") for _ in material.side(side))
        yield Finding(
            "warning",
            "same speaker on two sides",
            f"{count(len(names), 'speaker')} of train also in dev or test ({few(names, 4)}; "
            f"{len(found):,} of {held_out:,} lines): scores say how a model does on these voices, "
            "not on new ones",
            found,
            "say so beside the numbers"
            + (", or prepare again with --group-by speaker" if len(names) > 2 else ""),
        )


def groups(material: Material) -> Iterator[Finding]:
    """Scenes, prompts or recordings torn apart."""
    names, found = _shared(material, lambda utterance: utterance.group)
    if names:
        yield Finding(
            "warning",
            "same group on two sides",
            f"{count(len(names), 'group')} ({material.corpus.card.group_rule}) of train also in "
            f"dev or test ({few(names, 4)}; {count(len(found), 'line')}): scores may be too good",
            found,
            "prepare again without the source's own splits",
        )


CHECKS = (
    Check("sides", sides),
    Check("same text on two sides", repeated_texts),
    Check("same audio twice", repeated_audio, "sound"),
    Check("same speaker on two sides", speakers),
    Check("same group on two sides", groups),
)
