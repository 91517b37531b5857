"""``pivots``: what speaks for each language as the pivot of a transfer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.show import Display
from xlasr.data.synthesis import phones, spoken_as
from xlasr.diagnosis.pivots import family, speech
from xlasr.diagnosis.pivots.phones import NUMBERS, covered, distance, overlap
from xlasr.diagnosis.pivots.ranking import Candidate, Evidence, PivotRanking, rank
from xlasr.errors import DataError, RunError, UsageError

MINUTES = 3.0
"""Speech of each language that is listened to, evenly taken from its training side."""

_SOUND: dict[str, Callable[[speech.Sound, speech.Sound], float]] = {
    "spectra": speech.spectral_distance,
    "rhythm": speech.rhythm_distance,
    "pitch_range": speech.range_distance,
    "pitch_slope": speech.slope_distance,
}
_CONFOUNDED = (
    "acoustics and prosody compare recordings as much as languages: voices, rooms and styles of "
    "speaking differ too. The noise floor is of halves of one corpus, which share all of these"
)


def pivots(
    target: str,
    corpora: Sequence[str | Path] = (),
    *,
    candidates: Sequence[str] | None = None,
    run: str | Path | None = None,
    audio: bool = True,
    minutes: float = MINUTES,
    progress: bool = False,
) -> PivotRanking:
    """Rank languages as pivots: train on one of them, use it for the target.

    Only the training side of a corpus is looked at, in text and sound; never dev or test.

    Args:
        target: BCP-47 tag of the language that has little or no transcribed speech.
        corpora: Corpus folders, of candidates and of the target if there is one; several of one
            language count together.
        candidates: BCP-47 tags; a language without a corpus is judged by what needs none. None is
            the languages of the corpora.
        run: A finished CTC run whose alignment times the letters; None counts syllables.
        audio: Compare the sound too, where target and candidate have a corpus.
        minutes: Speech of each language to listen to.
        progress: Show a bar on standard error.

    Raises:
        UsageError: An unknown tag, a pivot that is the target, no candidates; a run that cannot
            align or that nothing is aligned with.
        CorpusError: No corpus, or a damaged one.
        RunError: The run is not finished.
        AudioError: A clip is gone or damaged.
    """
    wanted = family.check_tag(target)
    if minutes <= 0:
        raise UsageError(f"{minutes:g} minutes of speech to listen to; give a number above 0")
    texts: dict[str, list[Corpus]] = {}
    for path in corpora:
        corpus = Corpus.open(path)
        texts.setdefault(family.check_tag(corpus.language), []).append(corpus)
    chosen = _candidates(wanted, candidates, texts)
    notes = [
        f"not looked at, for {language} is no candidate: {', '.join(c.path.name for c in unused)}"
        for language, unused in texts.items()
        if language not in (wanted, *chosen)
    ]
    languages = {tag: _Language(tag, texts.get(tag, [])) for tag in (wanted, *chosen)}
    if run is not None and not (audio and texts.get(wanted)):
        raise UsageError(
            f"a run times the letters of the speech of {wanted} and of the candidates: give a "
            f"corpus of {wanted} too (--corpus), and do not leave the audio out"
        )
    if audio and languages[wanted].train:
        _hear([v for v in languages.values() if v.train], run, minutes, progress)
        notes.append(_CONFOUNDED)
    compared = _Comparison(languages[wanted], [languages[tag] for tag in chosen], minutes)
    if len(chosen) == 1:
        notes.append("one candidate alone: there is nothing to rank it against")
    rows = [
        Candidate(one.tag, family.name(one.tag), one.minutes, compared.evidence(one))
        for one in compared.candidates
    ]
    return PivotRanking(wanted, family.name(wanted), rank(rows), notes=compared.notes + notes)


def _candidates(
    target: str, given: Sequence[str] | None, corpora: Iterable[str]
) -> list[str]:  # fmt: skip
    if given is None:
        found = [tag for tag in corpora if tag != target]
    else:
        found = list(dict.fromkeys(family.check_tag(tag) for tag in given))
        if target in found:
            raise UsageError(
                f"{target} is the target, so it cannot be the pivot; leave it out of the candidates"
            )
    if not found:
        raise UsageError(
            f"no candidates for {target}: name languages (--candidates es,fr,pl), or give corpora "
            "of other languages (--corpus FOLDER for each)"
        )
    return found


class _Language:
    """What is known of one language."""

    def __init__(self, tag: str, corpora: Sequence[Corpus]) -> None:
        self.tag = tag
        self.has_corpus = bool(corpora)
        self.train = [c.split("train") for c in corpora if "train" in c.splits]
        self.minutes = sum(float(split.durations_s.sum()) for split in self.train) / 60
        self.letters: Counter[str] = Counter()
        for corpus in corpora:
            self.letters.update(corpus.card.alphabet)
        del self.letters[" "]
        self.lineage = family.lineage(tag)
        self.sound: speech.Sound | None = None

    def texts(self) -> Iterable[str]:
        return (utterance.text for split in self.train for utterance in split)

    def clips(self, minutes: float) -> list[Utterance]:
        """About so many minutes, or fewer, evenly taken from all of it."""
        step = max(1, math.ceil(self.minutes / minutes))
        return [split[i] for split in self.train for i in range(0, len(split), step)]

    @property
    def missing(self) -> str:
        """Why there is neither text nor sound."""
        wanting = "its corpus has no train split" if self.has_corpus else "no corpus was given"
        return f"{self.tag}: {wanting}"


def _hear(
    languages: Sequence[_Language], run: str | Path | None, minutes: float, progress: bool
) -> None:
    timer = None
    if run is not None:
        from xlasr.models.run import load_model

        if not (Path(run) / "model").exists():
            raise RunError(f"{run} is no finished run; finish it with `xlasr adapt --resume {run}`")
        timer = speech.letter_timer(load_model((Path(run) / "model").resolve()))
    clips = {language.tag: language.clips(minutes) for language in languages}
    with Display(quiet=not progress).bar("listening", sum(map(len, clips.values()))) as advance:
        for language in languages:
            language.sound = speech.listen(clips[language.tag], timer, advance)


class _Comparison:
    """The target beside its candidates."""

    def __init__(self, target: _Language, candidates: Sequence[_Language], minutes: float) -> None:
        self.target = target
        self.candidates = candidates
        self.minutes = minutes
        self.notes: list[str] = []
        self.phones: dict[str, Counter[str]] = {}
        self.phone_source = ""
        self.no_phones: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        """Phones of all languages from the same kind of text, or they could not be compared."""
        everyone = (self.target, *self.candidates)
        try:
            spoken = {one.tag: spoken_as(one.tag) for one in everyone}
        except DataError as error:
            self.no_phones = {one.tag: str(error) for one in everyone}
            return
        self.no_phones = {
            tag: f"espeak-ng does not speak {tag}" for tag, voice in spoken.items() if not voice
        }
        able = [one for one in everyone if spoken[one.tag]]
        without = [one.tag for one in able if not one.train]
        self.phone_source = "espeak-ng, " + (
            "the numbers 0 to 100 in words" if without else "text of the training sides"
        )
        if without and len(without) < len(able):
            self.notes.append(
                f"phones are those of the numbers 0 to 100 in every language, for there is no text "
                f"of {', '.join(without)}; with a corpus of each they would be those of its text"
            )
        for one in able:
            self.phones[one.tag] = phones([NUMBERS] if without else one.texts(), one.tag)

    def evidence(self, one: _Language) -> dict[str, Evidence]:
        """Every measure, or why it is missing."""
        return self._phones(one) | self._family(one) | self._letters(one) | self._sound(one)

    def _phones(self, one: _Language) -> dict[str, Evidence]:
        keys = ("phones_shared", "phone_distance")
        for tag in (self.target.tag, one.tag):
            if not self.phones.get(tag):
                reason = self.no_phones.get(tag, f"{tag}: its text has no phones")
                return {key: Evidence(None, reason) for key in keys}
        mine, theirs = self.phones[self.target.tag], self.phones[one.tag]
        values = (overlap(mine, theirs), distance(mine, theirs))
        found = {}
        for key, value in zip(keys, values, strict=True):
            found[key] = Evidence(None if math.isnan(value) else value, self.phone_source)
        return found

    def _family(self, one: _Language) -> dict[str, Evidence]:
        for language in (self.target, one):
            if language.lineage is None:
                reason = f"{family.SOURCE} does not list {language.tag}"
                return {"ancestors": Evidence(None, reason)}
        mine, theirs = self.target.lineage or (), one.lineage or ()
        n = family.shared(mine, theirs)
        last = f", down to {mine[n - 1]}" if n else ", none in common"
        return {"ancestors": Evidence(float(n), family.SOURCE + last)}

    def _letters(self, one: _Language) -> dict[str, Evidence]:
        for language in (self.target, one):
            if not language.letters:
                return {"letters": Evidence(None, language.missing)}
        source = "alphabets of the training sides"
        return {"letters": Evidence(covered(self.target.letters, one.letters), source)}

    def _sound(self, one: _Language) -> dict[str, Evidence]:
        found = {}
        for key, apart in _SOUND.items():
            if self.target.sound is None or one.sound is None:
                wanting = one if self.target.train else self.target
                told = "the audio was not looked at" if wanting.train else wanting.missing
                found[key] = Evidence(None, told)
                continue
            value = apart(self.target.sound, one.sound)
            source = f"about {self.minutes:g} minutes of each training side"
            if key == "rhythm":
                source += f", from one {one.sound.rhythm[:-1]} to the next"
            if math.isnan(value):
                found[key] = Evidence(None, f"{source}: nothing to measure in one of them")
                continue
            found[key] = Evidence(value, source, self._floor(one, apart))
        return found

    def _floor(
        self, one: _Language, apart: Callable[[speech.Sound, speech.Sound], float]
    ) -> float | None:
        floors = []
        for sound in (self.target.sound, one.sound):
            halves = sound.halves() if sound else None
            if halves and not math.isnan(within := apart(*halves)):
                floors.append(within)
        return sum(floors) / len(floors) if floors else None
