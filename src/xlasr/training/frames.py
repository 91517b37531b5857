"""What an encoder must know of its training set's sound before the first update."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from xlasr.errors import CheckpointError
from xlasr.features.streaming import FrameStatistics
from xlasr.models.frames import MeasuredEncoder
from xlasr.models.run import SpeechModel
from xlasr.training.checkpoint import read_checkpoint, write_checkpoint
from xlasr.training.sets import TextSet, TrainingSet


def measure_frames(model: SpeechModel, sets: Sequence[TrainingSet | TextSet], folder: Path) -> None:
    """Give an encoder mean and standard deviation of the frames it is trained on.

    Once a stage, over every clip as it was recorded, and kept in the stage's folder: a resumed
    stage does not hear everything again. Encoders that need none, or have them from an earlier
    stage, are left as they are.

    Args:
        model: Changed in place.
        sets: Usable clips; text is passed by.
        folder: Of the stage.
    """
    encoder = model.encoder
    if not isinstance(encoder, MeasuredEncoder) or encoder.is_measured:
        return
    kept = folder / "frames"
    try:
        found = read_checkpoint(kept).tensors["model"]
        statistics = FrameStatistics(int(found["count"]), found["mean"], found["deviations"])
    except (CheckpointError, KeyError):  # not measured yet, or damaged
        heard = [data for data in sets if not isinstance(data, TextSet)]
        clips = (data.samples(i) for data in heard for i in range(len(data.rows)))
        statistics = FrameStatistics.of_clips(clips)
        tensors = {name: torch.as_tensor(value) for name, value in vars(statistics).items()}
        write_checkpoint(kept, {"model": tensors}, {})
    encoder.measure(statistics)
