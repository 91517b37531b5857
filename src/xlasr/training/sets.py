"""What the loop trains on: usable clips of each corpus of the mix, loaded and augmented by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlasr.config import AugmentSettings
from xlasr.data.batches import Batch, Floats, Ints, clip_rng, take_minutes
from xlasr.data.corpus import Split
from xlasr.data.text import normalise
from xlasr.errors import DataError
from xlasr.features.augment import Samples, add_noise, speed
from xlasr.features.conditions import open_condition
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.objectives.ctc import min_frames
from xlasr.training.guards import keep_usable


@dataclass
class TrainingSet:
    """Usable clips of one split.

    Args:
        split: Of a corpus.
        rows: Usable rows of the split (int64).
        form: Named normaliser of the text that is learnt.
        left_out: Counts of clips that cannot be trained on, by reason.
    """

    split: Split
    rows: Ints
    form: str
    left_out: dict[str, int]

    @property
    def durations_s(self) -> NDArray[np.float32]:
        """Seconds of each usable clip."""
        return np.asarray(self.split.durations_s[self.rows], dtype=np.float32)

    def text(self, at: int) -> str:
        """Transcript of usable clip ``at``, in the form that is learnt."""
        return normalise(self.split[int(self.rows[at])].text, self.form)

    def texts(self) -> list[str]:
        """All transcripts."""
        return [self.text(i) for i in range(len(self.rows))]

    def samples(self, at: int) -> Samples:
        """Audio of usable clip ``at``: float32, 16 kHz."""
        return np.asarray(self.split[int(self.rows[at])].load(), dtype=np.float32)


def open_set(split: Split, form: str, minutes: float | None = None) -> TrainingSet:
    """All clips of a split, or whole groups up to an amount of minutes."""
    rows = np.arange(len(split), dtype=np.int64)
    if minutes is not None:
        rows = take_minutes(split.durations_s, [u.group for u in split], minutes)
    return TrainingSet(split, rows, form, {})


def leave_out_texts(data: TrainingSet, held_out: set[str]) -> TrainingSet:
    """Leave out clips of another corpus whose text stands in dev or test of the main one.

    Args:
        data: Of a corpus of the mix.
        held_out: Texts in the headline form.
    """
    texts = [normalise(data.split[int(row)].text) for row in data.rows]
    kept = np.asarray([text not in held_out for text in texts], dtype=bool)
    dropped = int((~kept).sum())
    reasons = {"its text stands in dev or test": dropped} if dropped else {}
    return TrainingSet(data.split, data.rows[kept], data.form, {**data.left_out, **reasons})


def drop_unusable(
    data: TrainingSet, model: SpeechModel, speeds: Sequence[float] = (1.0,)
) -> TrainingSet:
    """Leave out clips the model cannot be trained on, with counts.

    Args:
        data: Of one split.
        model: With its final tokenizer.
        speeds: Factors of the speed perturbation: the lowest makes clips longest, the highest
            leaves the fewest frames.

    Raises:
        DataError: Nothing is left.
    """
    import torch

    encoder = model.encoder
    longest_s = encoder.max_samples / 16_000 * min(speeds)
    slowed = "" if min(speeds) == 1.0 else f" (at speed {min(speeds):g})"

    def reason(text: str, duration_s: float) -> str | None:
        if duration_s > longest_s:
            return f"longer than {longest_s:.4g} s{slowed}"
        ids = model.tokenizer.encode(text)
        if not text.strip():  # Whisper spells even this, as a space
            return "no text left after normalisation"
        if not ids:
            return "no letter of the text is in the alphabet"
        if isinstance(model, Seq2SeqModel):
            room = model.max_tokens - len(model.tokenizer.prompt) - 1
            return f"more than {room} tokens" if len(ids) > room else None
        shortest = round(duration_s / max(speeds) * 16_000)
        frames = int(encoder.out_lens(torch.tensor([shortest]))[0])
        if frames < 1 or min_frames(ids) > frames:
            return "more symbols than frames (CTC has no alignment)"
        return None

    durations = data.durations_s
    kept, reasons = keep_usable(
        list(range(len(data.rows))), data.text, lambda i: float(durations[i]), reason
    )
    if not kept:
        raise DataError(
            f"no usable clip is left in split {data.split.name!r}: "
            + ", ".join(f"{n} {why}" for why, n in reasons.items())
            + ". Do recordings and transcripts belong together? `xlasr prepare` cuts long ones by"
            " the columns start and end of a table"
        )
    return TrainingSet(data.split, data.rows[kept], data.form, {**data.left_out, **reasons})


def load_batch(
    sets: list[TrainingSet], batch: Batch, augment: AugmentSettings, seed: int, epoch: int
) -> tuple[list[Samples], list[str], list[np.random.Generator]]:
    """Audio (augmented), transcripts and the generators that go on to mask the spectrogram."""
    clips, texts, rngs = [], [], []
    data = sets[batch.corpus]
    for at, factor in zip(batch.rows.tolist(), batch.speeds.tolist(), strict=True):
        rng = clip_rng(seed, epoch, batch.corpus, at)
        samples = speed(data.samples(at), factor)
        if augment.noise is not None and rng.random() < augment.noise.probability:
            samples = add_noise(samples, rng.uniform(*augment.noise.snr_db), rng)
        if augment.codec is not None and rng.random() < augment.codec.probability:
            kind = augment.codec.kinds[int(rng.integers(len(augment.codec.kinds)))]
            samples = open_condition(kind)(samples, int(rng.integers(2**31)))
        clips.append(samples)
        texts.append(data.text(at))
        rngs.append(rng)
    return clips, texts, rngs


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
