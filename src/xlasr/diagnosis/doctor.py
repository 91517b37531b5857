"""``check``: every check over one corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xlasr.data.corpus import Corpus
from xlasr.data.show import Display
from xlasr.diagnosis import audio as audio_checks
from xlasr.diagnosis import base, language, length, splits, text, writing
from xlasr.diagnosis.findings import SEVERITIES, Diagnosis, Finding, count
from xlasr.diagnosis.language import CheckSkipped
from xlasr.diagnosis.material import Check, Material
from xlasr.diagnosis.sound import listen
from xlasr.diagnosis.thresholds import Thresholds
from xlasr.errors import UsageError

if TYPE_CHECKING:
    from xlasr.config import Recipe

FAMILIES = (splits, base, text, writing, language, length, audio_checks)
"""Files of checks, in the order of the page."""
CHECKS: tuple[Check, ...] = tuple(check for family in FAMILIES for check in family.CHECKS)
_MISSING = {"sound": "the audio was not looked at (--no-audio)", "base": "no --base was named"}


def check(
    corpus: str | Path,
    *,
    base: str | None = None,
    recipe: str | Recipe | None = None,
    pieces: int | None = None,
    audio: bool = True,
    run: str | Path | None = None,
    suspect_splits: Sequence[str] = (),
    thresholds: Thresholds | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Look for what would make training fail or its numbers wrong. Nothing is changed.

    Args:
        corpus: A corpus folder.
        base: The model that is to be adapted: built-in name, directory, finished run or hub id.
        recipe: How it is to be adapted: says which family and which form of text.
        pieces: Size of a SentencePiece vocabulary to check against the text of train.
        audio: Listen to every clip (once).
        run: A finished CTC run of the language; ranks ``Diagnosis.suspects``.
        suspect_splits: Sides to rank; empty is all of them.
        thresholds: Other limits.
        progress: Show a bar on standard error.

    Raises:
        CorpusError: No corpus, or a damaged one.
        UsageError: A base, recipe or side that is not there, or that do not fit.
        BaseError: The base does not load.
        RunError: The run is not finished.
    """
    opened = Corpus.open(corpus)
    if pieces is not None and pieces < 1:
        raise UsageError(f"a vocabulary of {pieces} pieces; give a number above 0")
    material = _material(opened, base, recipe, pieces, thresholds or Thresholds())
    display = Display(quiet=not progress)
    if audio:
        with display.bar("listening", material.n_utterances) as advance:
            material.sounds = listen(material.utterances(), material.n_utterances, advance)
    findings: list[Finding] = []
    passed, skipped = [], []
    for one in CHECKS:
        if {"sound": material.sounds, "base": material.base}.get(one.needs, True) is None:
            skipped.append(f"{one.name}: {_MISSING[one.needs]}")
            continue
        try:
            found = list(one.run(material))
        except CheckSkipped as reason:
            skipped.append(f"{one.name}: {reason}")
            continue
        findings += found
        if not found and not (one.name.startswith("SentencePiece") and pieces is None):
            passed.append(one.name)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    diagnosis = Diagnosis(
        opened.path,
        _title(material),
        findings,
        passed,
        skipped,
        material.thresholds,
        material=material,
    )
    if run is not None:
        from xlasr.diagnosis.suspects import rank

        sides = list(suspect_splits or opened.splits)
        seconds = sum(float(opened.split(side).durations_s.sum()) for side in sides)
        with display.bar("aligning (seconds)", round(seconds)) as advance:
            diagnosis.suspects, diagnosis.suspects_note, unread = rank(
                opened, Path(run), sides, lambda done: advance(round(done))
            )
        listed = material.sounds.errors if material.sounds else []
        if new := [record for record in unread if record not in listed]:
            findings.insert(0, audio_checks.unread(new, material, fixable=False))
    return diagnosis


def _material(
    corpus: Corpus,
    base: str | None,
    recipe: str | Recipe | None,
    pieces: int | None,
    thresholds: Thresholds,
) -> Material:
    plan = None
    if recipe is not None:
        if base is None:
            raise UsageError("a recipe is checked with a base; add --base")
        from xlasr.config import load_recipe

        plan = load_recipe(recipe) if isinstance(recipe, str) else recipe
    material = Material(corpus, thresholds, pieces=pieces)
    if plan is not None:
        form = plan.stages[0].output.text
        material.form = "headline" if form == "phones" else form  # what is looked at is letters
        speeds = [factor for stage in plan.stages for factor in stage.augment.speed]
        material.speeds = min(1.0, *speeds), max(1.0, *speeds)
    if base is not None:
        from xlasr.diagnosis.fit import fit

        material.base = fit(base, plan, corpus.language)
    return material


def _title(material: Material) -> str:
    card = material.corpus.card
    title = f"{card.language}, {card.minutes:.1f} minutes, "
    title += count(material.n_utterances, "utterance")
    if material.base is not None:
        title += f"; base {material.base.name} ({', '.join(material.base.families)})"
    return title
