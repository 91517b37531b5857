"""Audio-visual clips as a training set: their first seconds, with pictures."""

from __future__ import annotations

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
class ClipSet(TrainingSet):
    """Usable clips with pictures. Nothing is held but their rows.

    Args:
        shape: What the model looks at: seconds, pictures a second, their size.
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

    @property
    def durations_s(self) -> NDArray[np.float32]:
        """Seconds of each usable clip that are used."""
        limit = np.float32(self.looked_at.seconds)
        return np.minimum(super().durations_s, limit)

    def samples(self, at: int) -> Samples:
        """The sound of the first seconds of usable clip ``at``."""
        return self._sound(self._utterance(at))

    def item(
        self, at: int, factor: float, augment: AugmentSettings, rng: np.random.Generator
    ) -> AudioVisualClip:
        """The clip: sound as ever, pictures cut out at random, or the middle without ``crop``.

        With ``crop.seconds`` a clip that is longer begins anywhere. Pictures are taken as long as
        there are both sound and pictures, rounded up to tubelets.

        Raises:
            DataError: The row has no pictures.
            VideoError: They cannot be decoded.
        """
        shape, utterance = self.looked_at, self._utterance(at)
        video, how = utterance.video, augment.crop
        if video is None:
            raise DataError(f"{utterance.id}: this clip has no pictures")
        spare_s = min(utterance.duration_s, video.seconds) - shape.seconds
        first_s = 0.0
        if how is not None and how.seconds is not None and spare_s > 0:
            first_s = float(rng.uniform(0, spare_s))
        samples = augmented(self._sound(utterance, first_s), factor, augment, rng)
        both_s = min(len(samples) / 16_000, video.seconds - first_s, shape.seconds)
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

    def _utterance(self, at: int) -> Utterance:
        return cast(Utterance, self.split[int(self.rows[at])])

    def _sound(self, utterance: Utterance, first_s: float = 0.0) -> Samples:
        seconds = min(utterance.duration_s - first_s, self.looked_at.seconds)
        part = replace(utterance, start_s=utterance.start_s + first_s, duration_s=seconds)
        return np.asarray(part.load(), dtype=np.float32)


def with_video(data: TrainingSet, model: SpeechModel, stage: Stage) -> TrainingSet:
    """The clips that have pictures, where an objective of the stage looks at them.

    Args:
        data: Of one split.
        model: With its encoder.
        stage: Its objectives.

    Raises:
        DataError: No clip has pictures.
    """
    if not stage.needs_video or isinstance(data, TextSet):
        return data
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
    held = {field.name: getattr(data, field.name) for field in fields(TrainingSet)}
    held["rows"] = data.rows[has_video]
    if without:
        held["left_out"] = {**data.left_out, "no pictures": without}
    shape, crop = model.encoder.hf.config, stage.augment.crop
    if crop is not None and crop.seconds is not None:
        shape = replace(shape, seconds=min(shape.seconds, crop.seconds))
    return ClipSet(**held, shape=shape)
