"""What is probed: an encoder that is never trained, and the states of its layers, computed once.

A clip is computed alone, so its states depend on no other clip and hold no padding. A task that
gives a clip one label needs the mean over time only, which is small: the sum over layers and the
mean over time may change places. A task that writes needs all positions; these lie in one file of
half-precision numbers that is gone with the probe (``training.frozen`` keeps one layer of a stage;
here it is all of them).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlasr.diagnosis.probes.tasks import Clip
from xlasr.errors import BaseError, UsageError
from xlasr.features.conditions import open_condition
from xlasr.features.logmel import SAMPLE_RATE
from xlasr.features.streaming import FrameStatistics
from xlasr.models.encoders import Context
from xlasr.models.frames import MeasuredEncoder
from xlasr.models.hidden import layer_states
from xlasr.models.hub import Base, empty_encoder, find_base
from xlasr.models.multimodal import MULTIMODAL
from xlasr.models.run import from_base, load_model
from xlasr.models.seamless import SEAMLESS
from xlasr.models.streaming import SpeechEncoder
from xlasr.models.tokenizer import CharTokenizer

SHORT = Context(slack=16, multiple=16)
"""What the recipes give Whisper; a run has its own."""
LIMIT_BYTES = 4 * 2**30
"""Of the file of all positions."""
LARGEST = float(torch.finfo(torch.float16).max)
Advance = Callable[[int], None]
"""Called with how many clips were encoded."""


def open_encoder(
    name: str, *, random: bool = False, seed: int = 0, whole: bool = False
) -> tuple[SpeechEncoder, Base]:
    """Open the encoder of a base or of a finished run, in evaluation mode.

    Args:
        name: What ``find_base`` takes.
        random: Draw weights anew for an encoder of that shape: the peer that has learnt nothing.
        seed: Of random weights.
        whole: Give a Whisper base its own 30 s for every clip, and not the short context of the
            recipes. A run keeps the context it was trained with.

    Raises:
        BaseError: It cannot be opened, or has no shape that weights could be drawn for.
        UsageError: ``whole`` for a run or for an encoder that has no window.
    """
    base = find_base(name)
    if whole and (base.adapted or base.model_type not in ("whisper", MULTIMODAL)):
        raise UsageError(
            f"the whole context is for bare Whisper bases; {name} has "
            f"{'the one it was trained with' if base.adapted else 'no window'}"
        )
    context = None if whole else SHORT
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if random:
            if base.model_type in (*SEAMLESS, MULTIMODAL):
                raise BaseError(
                    f"a {base.model_type!r} encoder cannot be drawn at random alone; take the peer "
                    "of another kind, such as whisper-tiny.en"
                )
            encoder = empty_encoder(base.folder, base.model_type, context)
        elif base.adapted:
            encoder = load_model(base.folder).encoder
        else:
            family = base.families[0]
            letters = CharTokenizer(["a"])  # of a head that is thrown away
            model = from_base(base, family, context=context, language="en", alphabet=letters)
            encoder = model.encoder
    return encoder.eval().requires_grad_(False), base


class Ear:
    """An encoder that listens to clips through a channel.

    Args:
        encoder: In evaluation mode.
        condition: Name of the channel; None hears what was recorded.
        advance: Told of every clip.
    """

    def __init__(
        self, encoder: SpeechEncoder, condition: str | None, advance: Advance | None = None
    ) -> None:
        self.encoder = encoder
        self.through = None if condition is None else open_condition(condition)
        self.advance = advance

    def samples(self, clip: Clip) -> NDArray[np.float32]:
        """Samples of a clip behind the channel: float32 at 16 kHz."""
        samples = clip.utterance.load()
        return samples if self.through is None else self.through(samples, 0)

    def measure(self, clips: Sequence[Clip]) -> bool:
        """Give an encoder of random weights the mean of its frames, from training clips.

        Returns:
            Whether it needed that.
        """
        if not isinstance(self.encoder, MeasuredEncoder) or self.encoder.is_measured:
            return False
        self.encoder.measure(FrameStatistics.of_clips(self.samples(clip) for clip in clips))
        return True

    def n_positions(self, clip: Clip) -> int:
        """Positions of a clip, about: what its file needs."""
        n_samples = round(clip.utterance.duration_s * SAMPLE_RATE)
        return int(self.encoder.out_lens(torch.tensor([n_samples]))[0])

    @torch.inference_mode()
    def states(self, clip: Clip) -> tuple[Tensor, int]:
        """Every layer's states of one clip, (T', L, D), and its samples.

        Raises:
            BaseError: They are not finite; the clip does not fit the encoder.
        """
        samples = self.samples(clip)
        features = self.encoder.features([samples])
        states = torch.stack([s[0] for s in layer_states(self.encoder, features)], 1)
        states = states[: int(self.encoder.out_lens(features.input_lens)[0])].float()
        if not bool(torch.isfinite(states).all()):
            raise BaseError(f"{clip.key}: the encoder's states hold NaN or infinity; its weights?")
        if self.advance is not None:
            self.advance(1)
        return states, len(samples)

    def means(self, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """Mean over time of every layer, (L, D) by key."""
        return {clip.key: self.states(clip)[0].mean(0) for clip in clips}


@dataclass(frozen=True)
class _Place:
    first: int
    n: int
    n_samples: int


class Frames:
    """All positions of clips in a temporary file; a context manager that removes it.

    Args:
        ear: Computes them, once.
        clips: All that will be asked for.
        limit_bytes: Of the file.

    Raises:
        UsageError: They would not fit.
    """

    def __init__(self, ear: Ear, clips: Sequence[Clip], limit_bytes: int = LIMIT_BYTES) -> None:
        begun = ear.states(clips[0])  # says how many layers there are, and how wide
        shape = (sum(ear.n_positions(clip) + 1 for clip in clips), *begun[0].shape[1:])
        n_bytes = 2 * math.prod(shape)
        if n_bytes > limit_bytes:
            minutes = sum(clip.utterance.duration_s for clip in clips) / 60
            raise UsageError(
                f"the layers' states of {minutes:.0f} minutes take {n_bytes / 2**30:.1f} GiB, more "
                f"than {limit_bytes / 2**30:.1f}; take fewer clips of a side (--clips)"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="xlasr-probe-")
        path = Path(self._folder.name) / "states"
        self._file = np.memmap(path, dtype=np.float16, mode="w+", shape=shape)
        self._places: dict[str, _Place] = {}
        begin = 0
        for clip in clips:
            states, n_samples = begun if not begin else ear.states(clip)
            # a few states of large encoders are beyond half precision
            half = states.clamp(-LARGEST, LARGEST).half().numpy()
            self._file[begin : begin + len(half)] = half
            self._places[clip.key] = _Place(begin, len(half), n_samples)
            begin += len(half)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        del self._file
        self._folder.cleanup()

    def of(self, clip: Clip) -> Tensor:
        """Every layer's states, (T', L, D) float32."""
        place = self._places[clip.key]
        return torch.from_numpy(self._file[place.first : place.first + place.n].astype(np.float32))

    def n_samples(self, clip: Clip) -> int:
        """Samples of a clip."""
        return self._places[clip.key].n_samples

    def n_positions(self, clip: Clip) -> int:
        """Positions of a clip."""
        return self._places[clip.key].n
