"""What the loop trains on: usable clips of each corpus of the mix, loaded and augmented by row.

Text without speech is a set as well (``TextSet``): it makes other features, the rest is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xlasr.config import (
    AugmentSettings,
    CorpusSettings,
    ObjectiveSettings,
    TransducerLossSettings,
)
from xlasr.data.batches import Batch, Floats, Ints, clip_rng, take_minutes
from xlasr.data.corpus import Corpus, Split, Utterance
from xlasr.data.learnt_text import LearntText
from xlasr.data.parallel import Pair, ParallelText, clean
from xlasr.data.phones import in_form
from xlasr.data.text import normalise
from xlasr.data.translation import TranslatedSplit, missing, translated
from xlasr.errors import DataError, UsageError
from xlasr.features.augment import Samples, add_noise, speed
from xlasr.features.conditions import open_condition
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.models.parts import use_part
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.transducer import Transducer
from xlasr.objectives.ctc import min_frames
from xlasr.objectives.transducer import symbols_a_frame
from xlasr.training.guards import keep_usable


@dataclass
class TrainingSet:
    """Usable clips of one split.

    Args:
        split: Of a corpus; of a ``TextSet``, text.
        rows: Usable rows of the split (int64).
        form: Of the text that is learnt: a named normaliser, or ``phones``.
        left_out: Counts of clips that cannot be trained on, by reason.
        part: The language whose head learns it, where languages have heads of their own.
        ends_s: For each usable row where the letters of its text end, if it was aligned.
        hypotheses: For each usable row what a model wrote for it, if that was decoded ahead.
    """

    split: Split | ParallelText
    rows: Ints
    form: str
    left_out: dict[str, int]
    part: str | None = None
    ends_s: Mapping[int, tuple[float, ...]] | None = None
    hypotheses: Mapping[int, tuple[str, ...]] | None = None

    @property
    def durations_s(self) -> NDArray[np.float32]:
        """Seconds of each usable clip."""
        return np.asarray(self.split.durations_s[self.rows], dtype=np.float32)

    def text(self, at: int) -> str:
        """Transcript of usable clip ``at``, in the form that is learnt."""
        row = int(self.rows[at])
        line = self.split[row]
        if isinstance(line, Pair):
            return normalise(line.text, self.form)
        text = in_form(line.text, self.form, line.language)
        if self.ends_s is None and self.hypotheses is None:
            return text
        ends_s = None if self.ends_s is None else self.ends_s[row]
        return LearntText(text, ends_s, None if self.hypotheses is None else self.hypotheses[row])

    def texts(self) -> list[str]:
        """All transcripts."""
        return [self.text(i) for i in range(len(self.rows))]

    def turn(self, model: SpeechModel) -> SpeechModel:
        """Return the model, switched to the language of this set where languages have heads."""
        if self.part is not None:
            use_part(model, self.part)
        return model

    def samples(self, at: int) -> Samples:
        """Audio of usable clip ``at``: float32, 16 kHz."""
        utterance = cast(Utterance, self.split[int(self.rows[at])])
        return np.asarray(utterance.load(), dtype=np.float32)

    def item(
        self, at: int, factor: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> Any:
        """What features are made of: the clip, augmented."""
        return augmented(self.samples(at), factor, augment, rng)

    def features(
        self,
        model: SpeechModel,
        items: Sequence[Any],
        positions: int,
        augment: AugmentSettings,
        rngs: list[np.random.Generator],
    ) -> Features:
        """Features of a batch of items, masked where the stage asks for it.

        Args:
            model: Makes them; it is switched to the language of this set (``turn``).
            items: Of ``item``.
            positions: Of the batch; not used where the model has no window of fixed length.
            augment: Of the stage.
            rngs: One an item, as ``item`` left them.
        """
        self.turn(model)
        encoder = model.encoder
        found = model.features(items, positions if encoder.max_positions else None)
        return found if augment.spec is None else encoder.augmented(found, augment.spec, rngs)

    def heard_s(self, items: Sequence[Any]) -> float:
        """Seconds of sound in a batch of items."""
        return float(sum(len(c) for c in items)) / 16_000

    def notes(self, name: str) -> list[str]:
        """What a person should be told of the set called ``name``, a line each."""
        return [f"left out {n} clips of {name}: {why}" for why, n in self.left_out.items()]


@dataclass
class TextSet(TrainingSet):
    """Usable lines of text without speech: an item is the source, a transcript the target.

    Nothing augments it: speed, noise, codecs and masks are for sound.

    Args:
        source_language: Tag of the sources, as the model is told.
        target_language: Tag of what is written; None is the language of the stage.
    """

    source_language: str = "en"
    target_language: str | None = None

    def item(
        self, at: int, factor: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> Any:
        """Source of line ``at``, as it was written: it is read, not learnt."""
        return cast(ParallelText, self.split)[int(self.rows[at])].source

    def features(
        self,
        model: SpeechModel,
        items: Sequence[Any],
        positions: int,
        augment: AugmentSettings,
        rngs: list[np.random.Generator],
    ) -> Features:
        """Features of a batch of sources.

        Raises:
            UsageError: The model learns nothing from text.
        """
        if not isinstance(model, Seq2SeqModel):
            raise UsageError(
                f"text alone cannot train a model of the family {model.family!r}, whose output is "
                "aligned with sound; take seq2seq, or speak the text (xlasr prepare --reader "
                "spoken-text)"
            )
        return model.text_features(items, self.source_language, self.target_language)

    def heard_s(self, items: Sequence[Any]) -> float:
        """None: nothing is heard."""
        return 0.0

    def notes(self, name: str) -> list[str]:
        """What a person should be told of the set called ``name``, a line each."""
        unknown = [f"{name}: {note}" for note in cast(ParallelText, self.split).notes]
        left_out = [f"left out {n} lines of {name}: {why}" for why, n in self.left_out.items()]
        return unknown + left_out


def open_set(
    split: Split | ParallelText,
    form: str,
    minutes: float | None = None,
    part: str | None = None,
) -> TrainingSet:
    """All clips of a split, or whole groups up to an amount of minutes."""
    rows = np.arange(len(split), dtype=np.int64)
    if minutes is not None:
        rows = take_minutes(split.durations_s, [u.group for u in split], minutes)
    kind = TextSet if isinstance(split, ParallelText) else TrainingSet
    return kind(split, rows, form, missing(split), part)


def open_data(
    data: Corpus | ParallelText,
    settings: CorpusSettings,
    form: str,
    language: str,
    prompt: str,
    part: str | None = None,
) -> TrainingSet:
    """What a stage trains on of one entry of its data: a corpus' ``train``, or clean text.

    Args:
        data: What ``settings`` name.
        settings: The entry of the stage's data.
        form: Named normaliser of the text that is learnt.
        language: BCP-47 tag that text should be in, if ``settings`` name none.
        prompt: The same as the model is told; plain text is its own source.
        part: See ``TrainingSet``.

    Raises:
        DataError: No usable text.
    """
    if isinstance(data, Corpus):
        train = translated(data.split("train"), settings.target)
        return open_set(train, form, settings.minutes, part)
    text = clean(data, settings.target or language)
    rows = open_set(text, form, settings.minutes).rows
    source = settings.source if data.is_pairs else settings.target or prompt
    return TextSet(
        text,
        rows,
        form,
        text.left_out,
        source_language=source,
        target_language=settings.target,
    )


def leave_out_texts(data: TrainingSet, held_out: set[str]) -> TrainingSet:
    """Leave out clips of another corpus whose text stands in dev or test of the main one.

    Args:
        data: Of a corpus of the mix.
        held_out: Texts in the headline form; neither side of a pair may be among them, nor what is
            said where a translation is learnt.

    Raises:
        DataError: Nothing is left.
    """
    split, said = data.split, []
    for row in data.rows.tolist():
        line = split[row]
        texts = {line.text, line.source if isinstance(line, Pair) else line.text}
        if isinstance(split, TranslatedSplit):
            texts.add(split.transcript(row))
        said.append(texts)
    kept = np.asarray([held_out.isdisjoint(map(normalise, texts)) for texts in said], dtype=bool)
    dropped = int((~kept).sum())
    if dropped and not kept.any():
        raise DataError(
            f"every text of {split.name!r} stands in dev or test of another "
            "corpus of this run, or of the command's; it teaches nothing that is not asked there"
        )
    reasons = {"its text stands in dev or test": dropped} if dropped else {}
    return replace(data, rows=data.rows[kept], left_out={**data.left_out, **reasons})


def drop_unusable(
    data: TrainingSet,
    model: SpeechModel,
    speeds: Sequence[float] = (1.0,),
    *,
    positions_wanted: int | None = None,
    objectives: Sequence[ObjectiveSettings] = (),
) -> TrainingSet:
    """Leave out clips the model cannot be trained on, with counts.

    Args:
        data: Of one split.
        model: With its final tokenizer.
        speeds: Factors of the speed perturbation: the lowest makes clips longest, the highest
            leaves the fewest frames.
        positions_wanted: Encoder positions a clip must have; its text does not matter. None: the
            text is learnt, and says what the clip must have.
        objectives: Of the stage; what a transducer's clip must have is theirs to say.

    Raises:
        DataError: Nothing is left.
    """
    import torch

    encoder = data.turn(model).encoder
    longest_s = encoder.max_samples / 16_000 * min(speeds)
    slowed = "" if min(speeds) == 1.0 else f" (at speed {min(speeds):g})"

    def reason(text: str, duration_s: float) -> str | None:
        if duration_s > longest_s and not isinstance(data, TextSet):
            return f"longer than {longest_s:.4g} s{slowed}"
        shortest = round(duration_s / max(speeds) * 16_000)
        frames = int(encoder.out_lens(torch.tensor([shortest]))[0])
        if positions_wanted is not None:
            return "too short to be masked" if frames < positions_wanted else None
        ids = model.tokenizer.encode(text)
        if not text.strip():  # Whisper spells even this, as a space
            return "no text left after normalisation"
        if not ids:
            return "no letter of the text is in the alphabet"
        if isinstance(model, Seq2SeqModel) and len(ids) > model.room:
            return f"more than {model.room} tokens"
        if isinstance(model, Transducer) and _lattice_frames(model, ids, objectives) > frames:
            return "more symbols than the lattice takes"
        with_ctc = isinstance(model, CTCModel) or any(o.kind == "ctc" for o in objectives)
        if with_ctc and min_frames(ids) > frames:
            return "more symbols than frames (CTC has no alignment)"
        return None

    durations = data.durations_s
    # a text that does not matter is not read: of millions of clips that takes minutes
    text = data.text if positions_wanted is None else lambda _: ""
    kept, reasons = keep_usable(
        list(range(len(data.rows))), text, lambda i: float(durations[i]), reason
    )
    if not kept:
        raise DataError(
            f"no usable clip is left in split {data.split.name!r}: "
            + ", ".join(f"{n} {why}" for why, n in reasons.items())
            + ". Do recordings and transcripts belong together? `xlasr prepare` cuts long ones by"
            " the columns start and end of a table"
        )
    return replace(data, rows=data.rows[kept], left_out={**data.left_out, **reasons})


def _lattice_frames(
    model: Transducer, ids: Sequence[int], objectives: Sequence[ObjectiveSettings]
) -> int:
    """Frames that a transducer's losses need; those without windows take any text in one."""
    if model.shape.modified:
        return len(ids)
    losses = [
        o.transducer or TransducerLossSettings() for o in objectives if o.kind == "transducer"
    ]
    widths = [loss.range for loss in losses if loss.kind == "pruned"]
    return max((-(-len(ids) // symbols_a_frame(width)) for width in widths), default=1)


def augmented(
    samples: Samples, factor: float, augment: AugmentSettings, rng: np.random.Generator
) -> Samples:
    """Sound at another speed, in noise, through a codec, as the stage asks for it."""
    samples = speed(samples, factor)
    if augment.noise is not None and rng.random() < augment.noise.probability:
        samples = add_noise(samples, rng.uniform(*augment.noise.snr_db), rng)
    if augment.codec is not None and rng.random() < augment.codec.probability:
        kind = augment.codec.kinds[int(rng.integers(len(augment.codec.kinds)))]
        samples = open_condition(kind)(samples, int(rng.integers(2**31)))
    return samples


def load_batch(
    sets: list[TrainingSet], batch: Batch, augment: AugmentSettings, seed: int, epoch: int
) -> tuple[list[Any], list[str], list[np.random.Generator]]:
    """Clips (augmented) or source texts, transcripts, and the generators that go on to mask."""
    items, texts, rngs = [], [], []
    data = sets[batch.corpus]
    for at, factor in zip(batch.rows.tolist(), batch.speeds.tolist(), strict=True):
        rng = clip_rng(seed, epoch, batch.corpus, at)
        items.append(data.item(at, factor, augment, rng))
        text = data.text(at)
        texts.append(text.faster(factor) if isinstance(text, LearntText) else text)
        rngs.append(rng)
    return items, texts, rngs


def bucket_function(model: SpeechModel) -> Callable[[Floats], Ints]:
    """Encoder positions for durations in seconds, vectorised (for the epoch plan)."""
    encoder = model.encoder
    context = encoder.context

    def buckets(durations_s: Floats) -> Ints:
        # one position of rounding room: resampling may add a sample
        samples = np.ceil(durations_s * 16_000).astype(np.int64) + 2
        if context is not None:
            speech = -(-samples // encoder.samples_per_position) + context.slack
            rounded = -(-speech // context.multiple) * context.multiple
            return np.asarray(np.minimum(encoder.max_positions or 0, rounded), dtype=np.int64)
        if encoder.max_positions is not None:
            return np.full(len(samples), encoder.max_positions, dtype=np.int64)
        # a length bucket of half a second; the encoder masks what is padded
        return np.asarray(-(-samples // 8000) * 25, dtype=np.int64)

    return buckets
