"""Clips as a training set: a stretch of their time, with pictures or only its sound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from xlasr.config import AugmentSettings, Stage
from xlasr.data.corpus import Utterance
from xlasr.data.video import frames_at
from xlasr.errors import DataError
from xlasr.features.augment import Samples
from xlasr.features.video import Pictures, centre_crop, cropped, draw_crop, sample_times
from xlasr.models.audiovisual_config import AudioVisualConfig
from xlasr.models.conformer import ConformerEncoder
from xlasr.models.encoders import Features
from xlasr.models.run import SpeechModel
from xlasr.training.sets import TextSet, TrainingSet, augmented

_LARGER = 1.5
"""Pictures that are cut are decoded so much larger than what is cut out of them."""


@dataclass(frozen=True)
class AudioVisualClip:
    """The beginning of a clip; its length is that of the sound.

    Args:
        samples: (n,) float32, 16 kHz.
        pictures: (F, size, size, 3) uint8, whole tubelets.
    """

    samples: Samples
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.samples)


@dataclass
class StretchSet(TrainingSet):
    """Usable clips, of each no more than some seconds: the first, or with ``crop`` any.

    Args:
        seconds: At most so much of a clip.
    """

    seconds: float = math.inf

    @property
    def durations_s(self) -> NDArray[np.float32]:
        """Seconds of each usable clip that are used."""
        return np.minimum(super().durations_s, np.float32(self.seconds))

    def samples(self, at: int) -> Samples:
        """The sound of the first seconds of usable clip ``at``."""
        return self._sound(self._utterance(at))

    def item(
        self, at: int, factor: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> Any:
        """The sound of a stretch, augmented."""
        utterance = self._utterance(at)
        first_s = self._first_s(utterance.duration_s, augment, rng)
        return augmented(self._sound(utterance, first_s), factor, augment, rng)

    def _first_s(
        self, duration_s: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> float:
        """Where the stretch of a clip begins: anywhere, where ``crop.seconds`` says how long."""
        spare_s, how = duration_s - self.seconds, augment.crop
        anywhere = how is not None and how.seconds is not None and spare_s > 0
        return float(rng.uniform(0, spare_s)) if anywhere else 0.0

    def _utterance(self, at: int) -> Utterance:
        return cast(Utterance, self.split[int(self.rows[at])])

    def _sound(self, utterance: Utterance, first_s: float = 0.0) -> Samples:
        seconds = min(utterance.duration_s - first_s, self.seconds)
        part = replace(utterance, start_s=utterance.start_s + first_s, duration_s=seconds)
        return np.asarray(part.load(), dtype=np.float32)


@dataclass
class ClipSet(StretchSet):
    """Usable clips with pictures. Nothing is held but their rows.

    Args:
        shape: What the model looks at: pictures a second, their size.
    """

    shape: AudioVisualConfig | None = None

    @property
    def looked_at(self) -> AudioVisualConfig:
        """The shape; a set without one cannot be read.

        Raises:
            DataError: There is none.
        """
        if self.shape is None:
            raise DataError("a set of clips needs the shape of what the model looks at")
        return self.shape

    def item(
        self, at: int, factor: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> AudioVisualClip:
        """The clip: its sound, and pictures cut out at random, or the middle without ``crop``.

        Pictures are taken as long as there are both sound and pictures, rounded up to tubelets.

        Raises:
            DataError: The row has no pictures.
            VideoError: They cannot be decoded.
        """
        shape, utterance = self.looked_at, self._utterance(at)
        video, how = utterance.video, augment.crop
        if video is None:
            raise DataError(f"{utterance.id}: this clip has no pictures")
        first_s = self._first_s(min(utterance.duration_s, video.seconds), augment, rng)
        samples = augmented(self._sound(utterance, first_s), factor, augment, rng)
        both_s = min(len(samples) / 16_000, video.seconds - first_s, self.seconds)
        begin_s = video.start_s + first_s
        times = [begin_s + t for t in sample_times(both_s, shape.fps, shape.tubelet)]
        larger = _LARGER if how is not None else 1.0
        pictures = frames_at(video.path, times, short_side=round(larger * shape.frame_size))
        height, width = pictures.shape[1:3]
        if how is None:
            crop = centre_crop(height, width)
        else:
            crop = draw_crop(rng, height, width, scale=how.scale, ratio=how.ratio, flip=how.flip)
        return AudioVisualClip(samples, cropped(pictures, crop, shape.frame_size))

    def features(
        self,
        model: SpeechModel,
        items: Sequence[Any],
        positions: int,
        augment: AugmentSettings,
        rngs: list[np.random.Generator],
    ) -> Features:
        """Features of a batch of clips: frames of the sound, and pictures padded with black."""
        found = super().features(model, [clip.samples for clip in items], positions, augment, rngs)
        lens = torch.tensor([len(clip.pictures) for clip in items])
        parts = [torch.from_numpy(clip.pictures) for clip in items]
        video = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        return replace(found, video=video, video_lens=lens)


def stretches(data: TrainingSet, model: SpeechModel, stage: Stage) -> TrainingSet:
    """The clips that have pictures, where an objective of the stage looks at them.

    Where none does, the sound of all is cut as it would be with pictures (``crop.seconds``), so
    that what pictures add can be told.

    Args:
        data: Of one split.
        model: With its encoder.
        stage: Its objectives.

    Raises:
        DataError: No clip has pictures.
    """
    crop = stage.augment.crop
    seconds = math.inf if crop is None or crop.seconds is None else crop.seconds
    held = {field.name: getattr(data, field.name) for field in fields(TrainingSet)}
    if isinstance(data, TextSet) or (not stage.needs_video and seconds == math.inf):
        return data
    if not stage.needs_video:
        return StretchSet(**held, seconds=seconds)
    if not isinstance(model.encoder, ConformerEncoder):
        raise TypeError("objectives on pictures need the model that training.recipe builds")
    lines = cast(Iterable[Utterance], data.split)  # read in their order: one pass over the manifest
    pictures = np.fromiter((line.video is not None for line in lines), bool, len(data.split))
    has_video = pictures[data.rows]
    if not has_video.any():
        raise DataError(
            f"split {data.split.name!r} has no clip with pictures, and stage {stage.name!r} looks "
            "at them. Make the corpus of clips: xlasr prepare with the reader lrs3, voxceleb2 or "
            "kinetics"
        )
    without = int((~has_video).sum())
    held["rows"] = data.rows[has_video]
    if without:
        held["left_out"] = {**data.left_out, "no pictures": without}
    shape = model.encoder.hf.config
    return ClipSet(**held, seconds=min(shape.seconds, seconds), shape=shape)
