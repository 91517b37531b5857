"""Score a model on a split beside its unadapted base."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xlasr.data import cache_dir
from xlasr.data.corpus import Corpus, Split
from xlasr.data.phones import FORM, split_in_form
from xlasr.data.translation import missing, translated
from xlasr.decoding.recognise import DecodeOptions, Recognised, recognise
from xlasr.decoding.transcribe import recognise_long
from xlasr.diagnosis.sound import TABLE, measure
from xlasr.errors import DataError, UsageError
from xlasr.features.conditions import open_condition
from xlasr.files import write_text
from xlasr.models.heads import turn_to
from xlasr.models.hub import Base
from xlasr.models.run import SpeechModel, from_base, load_model
from xlasr.reporting.evaluation import Evaluation, Kept, Speed, UnderCondition
from xlasr.scoring.bootstrap import paired
from xlasr.scoring.breakdown import Part, by_duration, by_name, by_snr, by_speech_rate
from xlasr.scoring.error_rates import Score, score
from xlasr.scoring.japanese import score_japanese
from xlasr.scoring.normalisers import headline_for
from xlasr.scoring.rare_words import RARE_BELOW
from xlasr.scoring.scorecard import make_scorecard

Tell = Callable[[str, float], None]
"""Called with what is being decoded and seconds of audio."""


def transcribe_split(
    model: SpeechModel,
    split: Split,
    options: DecodeOptions,
    progress: Callable[[float], None] | None = None,
    condition: str | None = None,
) -> list[Recognised]:
    """Transcripts of every utterance of a split, in its order.

    A clip that is longer than the model takes is cut by voice activity, as a recording is.

    Args:
        model: In evaluation mode.
        split: To transcribe.
        options: How.
        progress: Called with seconds of audio.
        condition: Name of a channel that the clips go through first; None is as recorded.

    Raises:
        DataError: The split is empty.
    """
    if not len(split):
        raise DataError(f"split {split.name!r} has no utterance; nothing to score")
    through = None if condition is None else open_condition(condition)

    def load(index: int) -> Any:
        utterance = split[index]
        clip = utterance.load()
        # a seed of its own for each clip, the same in every run and for every model
        return through(clip, zlib.crc32(utterance.id.encode())) if through else clip

    seconds = split.durations_s
    fits = seconds <= longest_s(model)
    rows = np.flatnonzero(fits).tolist()
    short = recognise(model, lambda i: load(rows[i]), seconds[rows].tolist(), options, progress)
    found = dict(zip(rows, short, strict=True))
    for row in np.flatnonzero(~fits).tolist():
        found[row] = recognise_long(model, load(row), options)
        if progress:
            progress(float(seconds[row]))
    return [found[row] for row in range(len(split))]


def longest_s(model: SpeechModel) -> float:
    """The longest clip that a model takes as one, in seconds."""
    return model.encoder.max_samples / 16_000


def base_transcripts(
    base: Base,
    split: Split,
    language: str,
    progress: Callable[[float], None] | None = None,
    condition: str | None = None,
    form: str = "headline",
    target: str | None = None,
) -> list[Recognised] | None:
    """Transcripts by the base, kept in the cache; None where it has neither decoder nor head.

    Nor is there a comparison where one of the two writes phones and the other letters, where one
    translates, or where the base has heads of languages and this is none of them.

    A bare Whisper is given its own 30 s; a finished run decodes at the context it was trained for.

    Args:
        base: As found.
        split: To transcribe.
        language: For the prompt of a multilingual base.
        progress: Called with seconds of audio.
        condition: As for ``transcribe_split``.
        form: Of the text that the adapted model writes.
        target: Language that the adapted model translates into; None writes what is spoken.
    """
    if base.adapted is None and "seq2seq" not in base.families:
        return None
    its: dict[str, Any] = {"text": "headline"}
    if base.adapted:
        its = json.loads((base.folder / "xlasr.json").read_text(encoding="utf-8"))
    if (its["text"] == FORM) != (form == FORM) or its.get("target") != target:
        return None
    how = f"greedy, {base.adapted}" if base.adapted else "greedy at 30 s"
    facts = [base.sha256, split.sha256, language, how, 1]
    key = json.dumps(facts if condition is None else [*facts, condition])
    path = cache_dir() / "base-transcripts" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if path.exists():
        rows = json.loads(path.read_text(encoding="utf-8"))
        if progress:
            progress(float(split.durations_s.sum()))
        return [Recognised(**row) for row in rows]
    if base.adapted:
        model = load_model(base.folder)
        try:
            turn_to(model, language)
        except UsageError:
            return None
    else:
        model = from_base(base, "seq2seq", context=None, language=language).eval()
    # weights that were never tuned for short context break at it (docs/architecture.md)
    found = transcribe_split(model, split, DecodeOptions(batch_s=240.0), progress, condition)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps([vars(r) for r in found], ensure_ascii=False))
    return found


def written_split(split: Split, model: SpeechModel) -> Split:
    """The split, with what the model should write as its texts: phones, or translations."""
    return translated(split_in_form(split, str(model.info["text"])), model.info.get("target"))


def score_split(split: Split, found: Sequence[Recognised], normaliser: str | None = None) -> Score:
    """Score transcripts in the split's order, by utterance id.

    Args:
        split: With the references.
        found: What was heard.
        normaliser: None is the headline of the script: without spaces where it has none.
    """
    utterances = list(split)
    normaliser = normaliser or headline_for(u.text for u in utterances)
    return score(
        {u.id: u.text for u in utterances},
        {u.id: r.text for u, r in zip(utterances, found, strict=True)},
        {u.id: u.group for u in utterances},
        normaliser=normaliser,
    )


def evaluate_model(
    model: SpeechModel,
    base: Base | None,
    split: Split,
    options: DecodeOptions,
    *,
    language: str,
    training: Iterable[str] | None = None,
    terms: Sequence[str] | None = None,
    rare_below: int = RARE_BELOW,
    conditions: Sequence[str] = (),
    also: Sequence[Corpus] = (),
    progress: Tell | None = None,
) -> Evaluation:
    """Score a model and its base on a split.

    Args:
        model: Adapted, in evaluation mode.
        base: Its base; None leaves the comparison out.
        split: Usually ``test``.
        options: How the adapted model decodes; chosen on dev.
        language: BCP-47.
        training: Texts the model was trained on, for rare and common words.
        terms: Terms to look at.
        rare_below: Words with a lower training count are rare.
        conditions: Channels through which the split is scored too.
        also: Corpora of languages and domains to keep; the split of the same name is scored.
        progress: Where it stands.

    Raises:
        UnknownName, UsageError: A condition that does not exist.
        DataError: A split is empty.
    """
    for name in conditions:
        open_condition(name)  # a wrong name is said before an hour of decoding
    form = str(model.info["text"])
    rule = FORM if form == FORM else None
    target = model.info.get("target")
    kept_splits = [written_split(corpus.split(split.name), model) for corpus in also]

    def tell(what: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda seconds: progress(what, seconds)

    def both(
        part: Split, spoken: str, what: str = "", condition: str | None = None
    ) -> tuple[list[Recognised], list[Recognised] | None]:
        mine = transcribe_split(model, part, options, tell(f"adapted{what}"), condition)
        if base is None:
            return mine, None
        said = base_transcripts(base, part, spoken, tell(f"base{what}"), condition, form, target)
        return mine, said

    began, used = time.perf_counter(), time.process_time()
    found = transcribe_split(model, split, options, tell("adapted"))
    speed = Speed(
        round(float(split.durations_s.sum()), 1),
        round(time.perf_counter() - began, 1),
        round(time.process_time() - used, 1),
    )
    plain = None
    if base is not None:
        plain = base_transcripts(base, split, language, tell("base"), form=form, target=target)
    texts, groups = {u.id: u.text for u in split}, {u.id: u.group for u in split}
    speakers = speakers_in(split)
    card = make_scorecard(
        texts,
        {key: r.text for key, r in zip(texts, found, strict=True)},
        groups,
        unit="group",
        normaliser=rule,
        training=None if training is None else list(training),
        terms=terms,
        rare_below=rare_below,
        speakers=speakers,
    )
    adapted = card.score
    unadapted = None if plain is None else score_split(split, plain, rule)
    heard = {} if plain is None else {k: r.text for k, r in zip(texts, plain, strict=True)}
    return Evaluation(
        split=split.name,
        adapted=adapted,
        adapted_raw=card.raw,
        base=unadapted,
        base_raw=None if plain is None else score_split(split, plain, "raw"),
        paired=None if unadapted is None else paired(unadapted, adapted, "cer"),
        loops=sum(r.looped for r in found),
        empty=sum(not r.text for r in found),
        events=[*_warnings(unadapted, adapted), *_cut(split, model), *_untranslated(split)],
        speakers=speakers,
        base_japanese=score_japanese(texts, heard, groups) if heard and card.japanese else None,
        card=card,
        parts=breakdown(split, adapted),
        conditions=[
            UnderCondition(name, *_scores(split, *both(split, language, f", {name}", name), rule))
            for name in conditions
        ],
        also=[
            _kept(corpus, part, *both(part, corpus.language, f", {corpus.path.name}"), rule)
            for corpus, part in zip(also, kept_splits, strict=True)
        ],
        speed=speed,
    )


def _warnings(base: Score | None, adapted: Score) -> list[dict[str, Any]]:
    """Guard events: the adapted model is no better than its base."""
    if base is None or adapted.cer < base.cer:
        return []
    return [
        {
            "guard": "worse_than_base",
            "update": -1,
            "message": f"the adapted model has CER {100 * adapted.cer:.1f} %, its base "
            f"{100 * base.cer:.1f} %",
            "action": "do not use it; look at the learning curves, train longer or lower optim.lr",
        }
    ]


def _cut(split: Split, model: SpeechModel) -> list[dict[str, Any]]:
    """Event: clips that the model could not take as one."""
    n_long = int((split.durations_s > longest_s(model)).sum())
    if not n_long:
        return []
    return [
        {
            "guard": "long_clips",
            "update": -1,
            "message": f"{n_long} clips are longer than the {longest_s(model):.4g} s that it takes",
            "action": "they were cut by voice activity, and what was heard was joined",
        }
    ]


def _untranslated(split: Split) -> list[dict[str, Any]]:
    """Event: clips without the translation that the model should write."""
    return [
        {"guard": "no_translation", "update": -1, "message": f"{n} clips: {why}",
         "action": "they are not scored; all others are scored on their translations"}
        for why, n in missing(split).items()
    ]  # fmt: skip


def _scores(
    split: Split, mine: list[Recognised], base: list[Recognised] | None, rule: str | None
) -> tuple[Score, Score | None]:
    plain = None if base is None else score_split(split, base, rule)
    return score_split(split, mine, rule), plain


def speakers_in(split: Split) -> int | None:
    """Return how many different speakers a split has; None where one is not known."""
    names = {u.speaker for u in split}
    return None if None in names else len(names)


def _kept(
    corpus: Corpus,
    split: Split,
    mine: list[Recognised],
    base: list[Recognised] | None,
    rule: str | None,
) -> Kept:
    after, before = _scores(split, mine, base, rule)
    test = None if before is None else paired(before, after, "cer")
    return Kept(
        str(corpus.path), corpus.language, split.name, after, before, test, speakers_in(split)
    )


def breakdown(split: Split, scored: Score) -> dict[str, list[Part]]:
    """Score a split by duration, speech rate, signal-to-noise ratio and speaker.

    The ratio is estimated from the frames of each clip (``diagnosis/sound.py``). Speakers are left
    out where there are fewer than two.
    """
    seconds = {u.id: u.duration_s for u in split}
    snr = {u.id: float(np.array(measure(u.load()), dtype=TABLE)["snr_db"]) for u in split}
    parts = {
        "duration": by_duration(scored, seconds),
        "speech rate": by_speech_rate(scored, seconds),
        "signal-to-noise ratio, estimated": by_snr(scored, snr),
    }
    speakers = {u.id: u.speaker or "not known" for u in split}
    if len(set(speakers.values())) > 1:
        parts["speaker"] = by_name(scored, speakers)
    return parts


def write_hypotheses(path: Path, split: Split, evaluation: Evaluation) -> None:
    """Write id, reference and hypotheses as TSV, for any other scorer."""
    base = (
        {}
        if evaluation.base_raw is None
        else {u.id: u.hypothesis for u in evaluation.base_raw.utterances}
    )
    lines = ["id\treference\tadapted\tbase"]
    for utterance in evaluation.adapted_raw.utterances:
        row = [
            utterance.id,
            utterance.reference,
            utterance.hypothesis,
            base.get(utterance.id, ""),
        ]
        lines.append("\t".join(field.replace("\t", " ") for field in row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
