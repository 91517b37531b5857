"""What a probe is asked, and of which clips: a corpus as labelled clips on three sides.

Nothing that is tested was trained on: no group (scene, prompt) stands on two sides, and no text of
a test clip was heard in training (of keywords: not by that voice). Where that cannot be had from
the corpora there is an error that says why; what is left out is counted. Clips longer than 30 s are
left out for every encoder, so that all are asked the same.

Source: the tasks of SUPERB (Yang et al. 2021, arXiv 2105.01051, section 2), on other speech.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.phones import check_phones, phonemise
from xlasr.data.splits import SPLITS
from xlasr.data.text import normalise
from xlasr.errors import DataError, UsageError
from xlasr.registry import Registry

LONGEST_S = 30.0
"""Whisper's window; no encoder is given more, so that test sets are the same."""
LEAST_CLIPS = 8
"""Training clips of an intent or a voice; rarer ones are left out."""
KEYWORD_WORDS, KEYWORD_S = 2, 2.5
"""A keyword has at most so many words and seconds."""
TELEPHONE = "gsm"


@dataclass(frozen=True)
class Clip:
    """A clip and what is to be found out about it.

    Args:
        key: Unique in the task: CORPUS/ID.
        utterance: Where it lies, its group and its language.
        side: ``train``, ``dev`` or ``test`` in its own corpus.
        label: Its class, without spaces; or its phones.
    """

    key: str
    utterance: Utterance
    side: str
    label: str

    @property
    def language(self) -> str:
        """First part of its BCP-47 tag."""
        return self.utterance.language.split("-")[0]

    @property
    def voice(self) -> str:
        """Who speaks, within the language: two languages never share a voice here."""
        return f"{self.language}:{self.utterance.speaker}"


@dataclass(frozen=True)
class Fold:
    """One probe's clips. What it is tested on, it is tested on once."""

    train: list[Clip]
    dev: list[Clip]
    test: list[Clip]


@dataclass(frozen=True)
class Task:
    """A question and the clips to train, choose and test its probes.

    Args:
        name: Of the task.
        folds: A probe each; their test clips are scored together.
        writes: Whether a probe writes a sequence (CTC); else it chooses one of the labels.
        within_language: Whether a clip's own language is given away: only labels of that language
            compete, so that knowing the language does not help.
        condition: Channel that all clips go through (``features.conditions``); None: as recorded.
        notes: What was left out, and how to read it.
    """

    name: str
    folds: list[Fold]
    writes: bool = False
    within_language: bool = False
    condition: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def clips(self) -> list[Clip]:
        """All clips of all folds, once."""
        sides = (side for fold in self.folds for side in (fold.train, fold.dev, fold.test))
        return list({clip.key: clip for side in sides for clip in side}.values())

    @property
    def sha256(self) -> str:
        """Of keys, labels and sides: results of one hash were asked the same."""
        rows = [[(c.key, c.label) for c in part] for f in self.folds for part in vars(f).values()]
        return hashlib.sha256(repr(rows).encode()).hexdigest()


Build = Callable[[Sequence[Corpus], int], Task]
TASKS: Registry[Build] = Registry("probe task")


def build_task(name: str, corpora: Sequence[Corpus], most: int) -> Task:
    """Make a task of corpora.

    Args:
        name: ``keywords``, ``intents``, ``phones`` or ``speakers``.
        corpora: One or more.
        most: Clips of one side at most; which ones, a hash of their key says.

    Raises:
        UnknownName: No such task.
        UsageError: No corpus, or one of them twice.
        DataError: The task cannot honestly be made of these corpora.
    """
    make = TASKS[name]
    names = [corpus.path.name for corpus in corpora]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"a probe takes one or more corpora, each once; found {names}")
    return make(corpora, most)


@TASKS.register("keywords")
def keywords(corpora: Sequence[Corpus], most: int) -> Task:
    """Which word was said, by a voice that the probe was not trained on.

    Prompts, digits and letters of at most two words are spoken once by a voice, so a word can only
    be tested by another voice: of every language one voice after the other is held out, and the
    probe is trained on the same words of the others. With two voices that is one example of each
    word. The dev words of the held-out voice choose the update, the others are its test.

    It measures whether a word's states stay near each other when voice and channel change; all
    clips go through a telephone, for the voices at hand were recorded in different bands. It does
    not measure robustness to many voices or rooms, nor spotting in running speech. Texts of the
    second Asterisk voices are those of the first, and a few say other words: that is error too.
    """
    found, notes = _clips(corpora, _keyword)
    _need_voices(found, "keywords")
    by_language: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in found:
        by_language[clip.language][clip.voice].append(clip)
    parts: dict[int, list[Fold]] = defaultdict(list)
    for language, voices in sorted(by_language.items()):
        if len(voices) < 2:
            (only,) = voices
            notes.append(f"{language} is left out: {only} is its only voice")
            continue
        for number, held in enumerate(sorted(voices)):
            others = [clip for voice in sorted(voices) if voice != held for clip in voices[voice]]
            both = {c.label for c in others} & {c.label for c in voices[held]}
            if len(both) < 2:
                notes.append(f"{held} is not tested: it shares {len(both)} words with the others")
                continue
            heard = [clip for clip in voices[held] if clip.label in both]
            parts[number].append(
                Fold(
                    [clip for clip in others if clip.label in both],
                    [clip for clip in heard if clip.side == "dev"],
                    [clip for clip in heard if clip.side != "dev"],
                )
            )
    if not parts:
        raise DataError(
            "keywords need two voices of one language that say the same words, for each of them "
            f"says a word once; found {_voices(found)}. Give a second voice (asterisk-es with "
            "asterisk-es-co, asterisk-fr with asterisk-fr-armelle)"
        )
    folds = [_whole(_joined(parts[number], most), "keywords") for number in sorted(parts)]
    return Task("keywords", folds, within_language=True, condition=TELEPHONE, notes=notes)


@TASKS.register("intents")
def intents(corpora: Sequence[Corpus], most: int) -> Task:
    """What family a prompt belongs to: mail box, conference, queue, directory.

    The family is the first word of an Asterisk prompt's name (``vm-goodbye``), or the column
    ``intent`` of a corpus that has one. Lists of words (``digits/``, ``letters/``) are left out.
    Languages share the families, and a prompt is on one side in all of them.

    It measures whether states carry topic words (message, conference, agent) into sentences that
    were not heard. It does not measure understanding: topics differ in their typical length and
    in few words, half of the prompts are of the mail box (see the share of the most frequent
    family), and one voice reads all of a language.
    """
    found, notes = _clips(corpora, _intent)
    if not found:
        names = ", ".join(corpus.path.name for corpus in corpora)
        raise DataError(
            f"{names}: no intents. They are the families of Asterisk's prompts (asterisk-en, ...), "
            "or a column 'intent' of the corpus; nothing else says what a sentence is for"
        )
    fold = _classes(_thinned(_sides(found, notes), most), notes, "intents")
    return Task("intents", [fold], notes=notes)


@TASKS.register("phones")
def phones(corpora: Sequence[Corpus], most: int) -> Task:
    """What phones were said, by a linear layer and CTC: the phone error rate.

    The phones are espeak-ng's for the transcript (``data/phones.py``). Sides are those of the
    corpora. It measures how much of the sounds a linear layer can read off the states, of the
    voices that it was trained on; not pronunciation, for the rules do not know what was really
    said, and not other voices, where a corpus has one.
    """
    for language in {corpus.language for corpus in corpora}:
        check_phones(language)
    found, notes = _clips(corpora, lambda _, one: phonemise(one.text, one.language) or None)
    fold = _whole(_thinned(_sides(found, notes), most), "phones")
    return Task("phones", [fold], writes=True, notes=notes)


@TASKS.register("speakers")
def speakers(corpora: Sequence[Corpus], most: int) -> Task:
    """Who speaks, among the voices of the clip's own language.

    Trained and tested on different prompts or scenes of the same voices. Language would give a
    voice away, so only voices of one language compete, and a language with one voice is left out.
    So would the channel: all clips go through 8 kHz and GSM, which the second voices of Asterisk
    came through (these then twice).

    It measures voice and what is left of room, microphone and level of a recording; where two
    voices were recorded apart (asterisk-es and -es-co) these cannot be told from each other, and
    where actors shared a studio (fillets) they can. It says nothing about voices that were not
    trained on, and with two voices a language, as at hand, it is so easy that it ranks no encoders.
    Names of speakers count within a language: one name is one voice.
    """
    found, notes = _clips(corpora, lambda _, one: one.speaker or "")
    _need_voices(found, "speakers")
    found = [replace(clip, label=_label(clip.voice)) for clip in found]
    fold = _thinned(_sides(found, notes), most)
    return Task(
        "speakers",
        [_classes(fold, notes, "speakers", within_language=True)],
        within_language=True,
        condition=TELEPHONE,
        notes=notes,
    )


def _keyword(_: Corpus, one: Utterance) -> str | None:
    text = normalise(one.text, "headline")
    short = 0 < len(text.split()) <= KEYWORD_WORDS and one.duration_s <= KEYWORD_S
    return f"{one.language.split('-')[0]}:{_label(text)}" if short else None


_FAMILY = re.compile(r"([a-z]+)-")
_SAME_FAMILY = {"confbridge": "conf", "priv": "privacy"}  # partly the same sentences


def _intent(corpus: Corpus, one: Utterance) -> str | None:
    told = one.custom.get("intent")
    if told:
        return _label(str(told))
    family = _FAMILY.match(one.id)  # "digits/4" and "letters/a" have none
    if family is None or not corpus.card.source.startswith("asterisk-"):
        return None
    return _SAME_FAMILY.get(family[1], family[1])


def _label(text: str) -> str:
    """As one word, for the scorer."""
    return "_".join(text.split())


def _clips(
    corpora: Sequence[Corpus], label: Callable[[Corpus, Utterance], str | None]
) -> tuple[list[Clip], list[str]]:
    """Clips that have a label and are short enough, and a line about those too long."""
    found, too_long = [], 0
    for corpus in corpora:
        for side in corpus.splits:
            for one in corpus.split(side):
                told = label(corpus, one)
                if told is None:
                    continue
                too_long += one.duration_s > LONGEST_S
                if one.duration_s <= LONGEST_S:
                    found.append(Clip(f"{corpus.path.name}/{one.id}", one, side, told))
    return found, [f"left out: {too_long} clips over {LONGEST_S:g} s"] if too_long else []


def _need_voices(clips: Iterable[Clip], task: str) -> None:
    for clip in clips:
        if not clip.utterance.speaker:
            raise DataError(
                f"{clip.key} does not say who speaks, and {task} need it: give corpora whose "
                "utterances have a speaker (a column 'speaker', or the layout's own)"
            )


def _voices(clips: Iterable[Clip]) -> str:
    return ", ".join(sorted({clip.voice for clip in clips})) or "no clip that short"


def _sides(clips: Sequence[Clip], notes: list[str]) -> Fold:
    """The corpora's own sides, without texts that were heard in training.

    Raises:
        DataError: A group stands on two sides.
    """
    sides: dict[str, list[Clip]] = {name: [] for name in SPLITS}
    first: dict[str, Clip] = {}
    for clip in clips:
        group = clip.utterance.group
        other = first.setdefault(group, clip)
        if other.side != clip.side:
            raise DataError(
                f"group {group!r} is {other.side} in {other.key} and {clip.side} in {clip.key}: "
                "what is tested would be trained on. Give corpora that were prepared with one rule "
                "of splitting, and each recording once"
            )
        sides[clip.side].append(clip)
    kept = {"train": sides["train"]}
    heard = {_said(clip) for clip in sides["train"]}
    for name in ("test", "dev"):
        kept[name] = [clip for clip in sides[name] if _said(clip) not in heard]
        if dropped := len(sides[name]) - len(kept[name]):
            notes.append(f"left out of {name}: {dropped} clips whose text is on another side")
        heard |= {_said(clip) for clip in kept[name]}
    return Fold(kept["train"], kept["dev"], kept["test"])


def _said(clip: Clip) -> tuple[str, str]:
    return clip.language, normalise(clip.utterance.text, "headline")


def _joined(folds: Sequence[Fold], most: int) -> Fold:
    """Folds of several languages as one, of which nothing is asked that was not taught."""
    train, dev, test = ([c for fold in folds for c in getattr(fold, side)] for side in SPLITS)
    thin = _thinned(Fold(train, dev, test), most)
    taught = {clip.label for clip in thin.train}
    dev, test = ([c for c in side if c.label in taught] for side in (thin.dev, thin.test))
    return Fold(thin.train, dev, test)


def _thinned(fold: Fold, most: int) -> Fold:
    """At most so many clips of each side, chosen by a hash, in the order they had."""

    def thin(clips: list[Clip]) -> list[Clip]:
        chosen = sorted(clips, key=lambda c: hashlib.sha256(c.key.encode()).digest())[:most]
        keys = {clip.key for clip in chosen}
        return [clip for clip in clips if clip.key in keys]

    return Fold(thin(fold.train), thin(fold.dev), thin(fold.test))


def _classes(fold: Fold, notes: list[str], task: str, within_language: bool = False) -> Fold:
    """Keep the labels that can be learnt and are tested.

    Raises:
        DataError: Fewer than two are left to choose from.
    """
    taught = Counter(clip.label for clip in fold.train)
    tested = {clip.label for clip in fold.test}
    kept = {label for label, n in taught.items() if n >= LEAST_CLIPS and label in tested}
    languages: dict[str, set[str]] = defaultdict(set)
    for clip in fold.train:
        if clip.label in kept:
            languages[clip.language].add(clip.label)
    if within_language:
        kept = {label for labels in languages.values() if len(labels) > 1 for label in labels}
    if len(kept) < 2:
        found = ", ".join(f"{label} {n}" for label, n in taught.most_common(6)) or "none"
        one = " of one language" if within_language else ""
        raise DataError(
            f"{task} need two classes{one} with at least {LEAST_CLIPS} training clips each, and "
            f"test clips; in training stand: {found}. Those that stand in test too: "
            f"{', '.join(sorted(tested & set(taught))[:6]) or 'none'}. Give more corpora, or "
            "corpora that are not split by what is asked for"
        )
    every = Counter(c.label for side in vars(fold).values() for c in side)
    if lost := sorted(set(every) - kept):
        told = ", ".join(f"{label} ({every[label]})" for label in lost)
        notes.append(f"left out, too few clips or nothing to tell them from: {told}")
    train, dev, test = ([c for c in side if c.label in kept] for side in vars(fold).values())
    return _whole(Fold(train, dev, test), task)


def _whole(fold: Fold, task: str) -> Fold:
    """Refuse a fold of which a side is empty."""
    for side in SPLITS:
        if not getattr(fold, side):
            raise DataError(
                f"{task}: nothing is left on the side {side!r}; a probe is trained on train, "
                "chosen on dev and scored once on test. Give corpora that have all three"
            )
    return fold
