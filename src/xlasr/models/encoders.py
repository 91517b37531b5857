"""Speech encoders of two kinds behind one interface: Whisper's, and the self-supervised ones.

``models.frames`` has more. Axes: B clips, T' encoder positions, D model width. ``Features.values``
is (B, n_mels, T) for Whisper, (B, n_samples) for the wav2vec 2.0 kind and (B, T, F) for w2v-BERT.
Integers are tokens of text that takes the place of speech, (B, U).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.config import SpecAugmentSettings
from xlasr.errors import BaseError
from xlasr.features.augment import spans, spec_augment
from xlasr.features.logmel import HOP, N_FFT, SAMPLE_RATE, pad_clips, whisper_log_mel

Clips = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Context:
    """How many encoder positions a Whisper encoder is given; saved with the weights.

    Args:
        slack: Positions after the end of the speech (50 a second).
        multiple: The sum is rounded up to a multiple of this, so that few shapes occur.
    """

    slack: int = 64
    multiple: int = 32

    def positions(self, n_samples: int, limit: int, samples_per_position: int) -> int:
        """Positions for a clip of ``n_samples``, at most ``limit`` (30 s)."""
        speech = -(-n_samples // samples_per_position)
        rounded = -(-(speech + self.slack) // self.multiple) * self.multiple
        return min(limit, rounded)


@dataclass
class Features:
    """A collated batch: ``values``, and ``input_lens`` of the clips in samples (int64).

    Of text, ``values`` are token ids (int64), counted by ``input_lens``. ``is_pad`` marks padded
    inputs where the encoder needs telling; ``is_masked`` (B, T') and ``is_masked_channel`` (B, D)
    what the layers of a self-supervised encoder do not see of what its convolutions give them.
    ``video`` are pictures (B, F, height, width, 3) uint8, ``video_lens`` of each clip (int64).
    """

    values: Tensor
    input_lens: Tensor
    is_pad: Tensor | None = None
    is_masked: Tensor | None = None
    is_masked_channel: Tensor | None = None
    video: Tensor | None = None
    video_lens: Tensor | None = None

    @property
    def is_text(self) -> bool:
        """Whether this is text for a text encoder, and no speech."""
        return not self.values.is_floating_point()

    def to(self, device: torch.device) -> Features:
        """Move every tensor."""
        held = (getattr(self, field.name) for field in fields(self))
        return Features(*(None if t is None else t.to(device) for t in held))  # type: ignore[arg-type]


class WhisperSpeechEncoder(nn.Module):
    """Whisper's encoder over only the speech that is there.

    transformers' own forward refuses anything but 3000 mel frames, so its modules are called here
    in its order. All clips of a batch get the same number of positions; no mask is needed, and a
    batch of N equals N batches of one by construction.

    Args:
        hf: ``transformers`` WhisperEncoder.
        context: The short context it works at; None gives every clip the full 30 s.
    """

    samples_per_position = 2 * HOP
    length_adapter: nn.Module | None = None
    tail: tuple[str, ...] = ("layer_norm.",)
    """Names in ``hf`` of what ``upper`` does behind the last layer."""

    def __init__(self, hf: Any, context: Context | None) -> None:
        super().__init__()
        self.hf = hf
        self.context = context
        self.n_layers = len(hf.layers)
        self.dim: int = hf.config.d_model
        self.max_positions: int = hf.config.max_source_positions
        """Positions of 30 s."""
        self.text_state: Tensor | None = None
        """(D,) what a text without speech is encoded as; None is zeros."""

    @property
    def max_samples(self) -> int:
        """The longest clip, in samples."""
        return self.max_positions * self.samples_per_position

    def positions(self, n_samples: int) -> int:
        """Encoder positions given to a clip of ``n_samples``."""
        if self.context is None:
            return self.max_positions
        return self.context.positions(n_samples, self.max_positions, self.samples_per_position)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions that hold speech (int64), for lengths in samples."""
        lens = -(-input_lens // self.samples_per_position)
        return lens.clamp(max=self.max_positions)

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips at one context.

        Args:
            clips: float32 arrays at 16 kHz.
            positions: Encoder positions; None takes what the longest clip needs.

        Raises:
            BaseError: A clip is longer than the encoder's 30 s.
        """
        longest = max(len(c) for c in clips)
        if longest > self.max_samples:
            raise BaseError(
                f"a clip of {longest / SAMPLE_RATE:.1f} s is longer than Whisper's "
                f"{self.max_samples / SAMPLE_RATE:.0f} s; cut it first (xlasr transcribe does)"
            )
        wanted = positions or self.positions(longest)
        samples = pad_clips(clips, wanted * self.samples_per_position)
        mel = whisper_log_mel(samples, self.hf.config.num_mel_bins)
        return Features(mel, torch.tensor([len(c) for c in clips]))

    def augmented(
        self, features: Features, spec: SpecAugmentSettings, rngs: Sequence[np.random.Generator]
    ) -> Features:
        """SpecAugment on the log-mel frames, driven by one generator a clip."""
        n_frames = features.values.shape[-1]
        frames = [min(n // HOP + 1, n_frames) for n in features.input_lens.tolist()]
        values = spec_augment(features.values, frames, list(rngs), **spec.model_dump())
        return replace(features, values=values)

    def stem(self, features: Features) -> Tensor:
        """Convolutions and positions: (B, n_mels, 2 T') -> (B, T', D)."""
        x = nn.functional.gelu(self.hf.conv1(features.values))
        x = nn.functional.gelu(self.hf.conv2(x)).transpose(1, 2)
        x = x + self.hf.embed_positions.weight[: x.shape[1]]
        return nn.functional.dropout(x, self.hf.dropout, self.training)

    def upper(self, hidden: Tensor, first: int, features: Features) -> Tensor:
        """Layers ``first`` .. last and the closing norm, on (B, T', D)."""
        for layer in self.hf.layers[first:]:
            hidden = layer(hidden, None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.hf.layer_norm(hidden)  # type: ignore[no-any-return]

    def lower(self, features: Features, last: int) -> Tensor:
        """Stem and the first ``last`` layers, on (B, n_mels, 2 T') -> (B, T', D)."""
        hidden = self.stem(features)
        for layer in self.hf.layers[:last]:
            hidden = layer(hidden, None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return hidden

    def forward(self, features: Features) -> Tensor:
        """Encode: (B, n_mels, 2 T') -> (B, T', D).

        Of text, (B, U) integers, nothing is encoded: each gets the one state ``text_state``,
        (B, 1, D). Attention to a single state is sure of it whatever the query, so that every
        cross-attention adds one constant vector: of a state of zeros, what its biases alone say.
        The decoder learns as a language model would, at the offset of silence or of mean speech.
        """
        if features.is_text:
            like = self.hf.layer_norm.weight
            state = torch.zeros_like(like) if self.text_state is None else self.text_state.to(like)
            return state.expand(len(features.values), 1, -1)
        return self.upper(self.stem(features), 0, features)

    def layer_modules(self) -> Sequence[nn.Module]:
        """Transformer layers, bottom first."""
        return list(self.hf.layers)


class SelfSupervisedEncoder(nn.Module):
    """Wav2Vec2, XLS-R, MMS, HuBERT, WavLM and w2v-BERT through transformers.

    Args:
        hf: The bare model (``Wav2Vec2Model`` and its relatives).
        extractor: Its feature extractor.
    """

    context: Context | None = None
    max_positions: int | None = None  # no window of fixed length
    tail: tuple[str, ...] = ()  # it is cut behind its end only

    def __init__(self, hf: Any, extractor: Any) -> None:
        super().__init__()
        self.hf = hf
        self.extractor = extractor
        has_adapter = getattr(hf.config, "add_adapter", False)
        self.dim: int = hf.config.output_hidden_size if has_adapter else hf.config.hidden_size
        self.n_layers: int = hf.config.num_hidden_layers
        self.is_mel = hf.config.model_type == "wav2vec2-bert"
        # A group norm looks along the whole time axis, so padding would change its statistics;
        # the convolutions of a length adapter look over the end of a clip into its padding. Such
        # bases are given the clips of a batch one length at a time.
        group_norm = getattr(hf.config, "feat_extract_norm", "layer") == "group"
        self.feels_padding = group_norm or has_adapter
        self.stride = 2 * HOP if self.is_mel else int(np.prod(hf.config.conv_stride))
        if has_adapter:
            self.stride *= int(hf.config.adapter_stride**hf.config.num_adapter_layers)
        self.max_samples = 60 * SAMPLE_RATE
        self.can_mask = not self.is_mel and not has_adapter and hasattr(hf, "masked_spec_embed")
        """Whether positions can be hidden from the layers; ``masks`` says that a stage does it."""
        self.masks = False
        if self.can_mask:  # transformers' own draws from NumPy's global generator
            hf._mask_hidden_states = partial(_hide, hf)

    @property
    def samples_per_position(self) -> int:
        """Samples from one encoder position to the next."""
        return self.stride

    @property
    def length_adapter(self) -> nn.Module | None:
        """Convolutions behind the layers that shorten the sequence, if the base has them."""
        return getattr(self.hf, "adapter", None)

    def positions(self, n_samples: int) -> int:
        """Encoder positions given to a clip of ``n_samples``; its bucket for batching."""
        return int(self.out_lens(torch.tensor([n_samples]))[0])

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Encoder positions (int64) for lengths in samples."""
        if self.is_mel:  # pairs of mel frames; transformers counts from there
            input_lens = ((input_lens - N_FFT) // HOP + 1) // 2
        lens: Tensor = self.hf._get_feat_extract_output_lengths(input_lens)
        return lens.to(torch.int64)

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Normalise and pad clips with transformers' own extractor.

        Raises:
            BaseError: A clip is too short for one position.
        """
        lens = torch.tensor([len(c) for c in clips])
        if int(self.out_lens(lens).min()) < 1:
            raise BaseError(
                f"a clip of {int(lens.min())} samples gives no encoder position; drop it"
            )
        batch = self.extractor(
            [np.asarray(c) for c in clips],
            sampling_rate=SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        values = batch["input_features" if self.is_mel else "input_values"]
        is_pad = batch["attention_mask"] == 0
        return Features(values, lens, is_pad)

    def augmented(
        self, features: Features, spec: SpecAugmentSettings, rngs: Sequence[np.random.Generator]
    ) -> Features:
        """SpecAugment behind the convolutions, driven by one generator a clip.

        Positions get the base's mask embedding, channels become 0 (wav2vec 2.0, section 4.3).
        Bases that have no such embedding are left as they are; the stage says so.
        """
        if not self.can_mask:
            return features
        width = self.hf.config.hidden_size
        in_channels = width / 80  # frequency masks are given in mel bins
        masked = torch.zeros(self.mask_shape(features), dtype=torch.bool)
        channels = torch.zeros((len(rngs), width), dtype=torch.bool)
        for row, (n, rng) in enumerate(
            zip(self.out_lens(features.input_lens).tolist(), rngs, strict=True)
        ):
            for band in spans(rng, spec.freq_masks, round(spec.freq_width * in_channels), width):
                channels[row, band] = True
            widest = min(spec.time_width // 2, int(n * spec.time_share))
            for stretch in spans(rng, spec.time_masks, widest, n):
                masked[row, stretch] = True
        return replace(features, is_masked=masked, is_masked_channel=channels)

    def mask_shape(self, features: Features) -> tuple[int, int]:
        """(B, T') of a batch, padding included."""
        rows, samples = features.values.shape
        return rows, int(self.out_lens(torch.tensor([samples]))[0])

    def lower(self, features: Features, last: int) -> Tensor:
        """The whole encoder: (B, T', D). Only ``last == n_layers`` is offered.

        Raises:
            BaseError: A cut inside the encoder was asked for.
        """
        if last != self.n_layers:
            raise BaseError("features of this base are cached behind its last layer only")
        return self.forward(features)

    def upper(self, hidden: Tensor, first: int, features: Features) -> Tensor:
        """Nothing is left to do behind the last layer."""
        return hidden

    def forward(self, features: Features) -> Tensor:
        """Encode: values -> (B, T', D)."""
        return self._states(features)[0]

    def with_latents(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encode: values -> (B, T', D), and what the convolutions gave, unmasked (B, T', C).

        Only for Wav2Vec2-class bases: its relatives do not give them.
        """
        return self._states(features)  # type: ignore[return-value]

    def _states(self, features: Features) -> tuple[Tensor, ...]:
        """States and, where the base gives them, latents; what feels padding is given none."""
        is_pad = features.is_pad
        if is_pad is None or not self.feels_padding:
            return self._run(features, None if is_pad is None else ~is_pad)
        lens = (~is_pad).sum(1)

        def run(values: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
            masked, channels = features.is_masked, features.is_masked_channel
            n = int(self.out_lens(torch.tensor([values.shape[1]]))[0])
            alone = Features(
                values,
                features.input_lens[rows],
                is_masked=None if masked is None else masked[rows, :n],
                is_masked_channel=None if channels is None else channels[rows],
            )
            return self._run(alone, None)

        return by_length(features.values, lens, run)

    def _run(self, features: Features, mask: Tensor | None) -> tuple[Tensor, ...]:
        name = "input_features" if self.is_mel else "input_values"
        more: dict[str, Any] = {name: features.values}
        if self.can_mask:
            more["mask_time_indices"] = (features.is_masked, features.is_masked_channel)
        attention = None if mask is None else mask.to(torch.int64)
        out = self.hf(**more, attention_mask=attention)
        latents = out.get("extract_features")
        return (out.last_hidden_state,) if latents is None else (out.last_hidden_state, latents)

    def layer_modules(self) -> Sequence[nn.Module]:
        """Transformer layers, bottom first."""
        return list(self.hf.encoder.layers)


def by_length(
    values: Tensor, lens: Tensor, run: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Compute clips of one length at a time, without their padding.

    Args:
        values: (B, T, ...).
        lens: (B,) of what is no padding.
        run: (b, n, ...) and the numbers of these clips (b,) -> one or more (b, T', D).

    Returns:
        As many (B, T', D), zero-padded.
    """
    alone: dict[int, tuple[Tensor, ...]] = {}
    for n in sorted(set(lens.tolist())):
        rows = torch.nonzero(lens == n)[:, 0]
        found = zip(*run(values[rows, :n], rows), strict=True)
        alone.update(zip(rows.tolist(), found, strict=True))
    parts = zip(*(alone[i] for i in range(len(lens))), strict=True)
    return tuple(nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in parts)


def _hide(
    hf: Any,
    hidden: Tensor,
    mask_time_indices: tuple[Tensor | None, Tensor | None] = (None, None),
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Stands for transformers' ``_mask_hidden_states``: hides exactly what it is told to.

    Args:
        hf: The bare model.
        hidden: (B, T', D) from its convolutions.
        mask_time_indices: Masked positions (B, T') and masked channels (B, D).
        attention_mask: Unused.
    """
    masked, channels = mask_time_indices
    if masked is not None:
        hidden = torch.where(masked[..., None], hf.masked_spec_embed.to(hidden.dtype), hidden)
    if channels is not None:
        hidden = hidden.masked_fill(channels[:, None], 0.0)
    return hidden
