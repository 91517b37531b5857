"""SeamlessM4T, v1 and v2, as a recogniser: speech encoder, length adapter, text decoder.

Where the checkpoint has a text encoder it is kept: speech and text go through the same decoder, so
what the decoder learns from pairs of texts it also writes for speech.

Source: Seamless Communication et al. 2023 (arXiv 2308.11596, 2312.05187); adapted as in
arXiv 2410.13445.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xlasr.errors import BaseError
from xlasr.features.logmel import HOP, N_FFT, SAMPLE_RATE
from xlasr.models.encoders import Clips, Context, Features, by_length
from xlasr.models.seamless_tokens import SeamlessTokens
from xlasr.models.seq2seq import Seq2SeqModel

SEAMLESS = ("seamless_m4t", "seamless_m4t_v2")
"""Values of ``model_type``."""
TEXT_ENCODER = "text_encoder."
"""Begins the names of its weights. It is never trained: it is the side that is understood."""


class SeamlessEncoder(nn.Module):
    """Speech encoder and length adapter, and beside them the text encoder, if there is one.

    The Conformer layers mask what is padded. The convolutions of the length adapter would look over
    the end of a clip into its padding, so it is given the clips of a batch one length at a time:
    a batch of N equals N batches of one.

    Args:
        hf: transformers' ``SeamlessM4TSpeechEncoder`` or ``SeamlessM4Tv2SpeechEncoder``.
        extractor: ``SeamlessM4TFeatureExtractor``; None where no clip will be heard.
        text: The text encoder.
    """

    context: Context | None = None
    max_positions: int | None = None  # no window of fixed length
    tail = ("intermediate_ffn.", "adapter.", "inner_layer_norm.")

    def __init__(self, hf: Any, extractor: Any, text: Any = None) -> None:
        super().__init__()
        self.hf = hf
        self.extractor = extractor
        self.text = text
        config = hf.config
        self.dim: int = config.hidden_size
        self.n_layers: int = config.speech_encoder_layers
        self._shortenings = config.num_adapter_layers if config.add_adapter else 0
        self.samples_per_position = 2 * HOP * config.adaptor_stride**self._shortenings
        self.max_samples = 60 * SAMPLE_RATE

    def train(self, mode: bool = True) -> SeamlessEncoder:
        """Switch dropout on or off; v1's batch norms keep the statistics of the base.

        Those of a few clips of one language, with their padding, would be worse, and a frozen base
        would drift.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    @property
    def length_adapter(self) -> nn.Module | None:
        """Strided convolutions, attention and feed-forward that shorten the sequence."""
        return self.hf.adapter  # type: ignore[no-any-return]

    def layer_modules(self) -> Sequence[nn.Module]:
        """Conformer layers, bottom first."""
        return list(self.hf.encoder.layers)

    def positions(self, n_samples: int) -> int:
        """Encoder positions given to a clip of ``n_samples``; its bucket for batching."""
        return int(self.out_lens(torch.tensor([n_samples]))[0])

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Encoder positions (int64) for lengths in samples."""
        lens = ((input_lens - N_FFT) // HOP + 1) // 2  # pairs of mel frames
        config = self.hf.config
        for _ in range(self._shortenings):
            padded = lens + 2 * (config.adaptor_stride // 2)
            lens = (padded - config.adaptor_kernel_size) // config.adaptor_stride + 1
        return lens.to(torch.int64)

    def augmented(self, features: Features, spec: Any, rngs: Any) -> Features:
        """As they are: nothing masks this base's frames yet, and the stage says so."""
        return features

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Log-mel frames in pairs, each clip normalised alone, by transformers' own extractor.

        Raises:
            BaseError: A clip is too short for one pair of frames.
        """
        lens = torch.tensor([len(c) for c in clips])
        if int(lens.min()) < N_FFT + HOP:
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
        is_pad = batch["attention_mask"] == 0
        longest = int((~is_pad).sum(1).max())  # an odd frame at the end is half a pair: no input
        return Features(batch["input_features"][:, :longest], lens, is_pad[:, :longest])

    def lower(self, features: Features, last: int) -> Tensor:
        """Conformer layers and their closing norm: (B, T, F) -> (B, T, D); a text encoder whole.

        Raises:
            BaseError: A cut between the layers was asked for, or there is no text encoder.
        """
        if last != self.n_layers:
            raise BaseError("features of this base are cached behind its last layer only")
        is_pad = features.is_pad
        mask = None if is_pad is None else (~is_pad).to(torch.int64)
        if features.is_text:
            if self.text is None:
                raise BaseError("this model has no text encoder; it understands speech only")
            out = self.text(input_ids=features.values, attention_mask=mask)
            return out.last_hidden_state  # type: ignore[no-any-return]
        hidden = self.hf.feature_projection(features.values)
        return self.hf.encoder(hidden, attention_mask=mask)  # type: ignore[no-any-return]

    def upper(self, hidden: Tensor, first: int, features: Features) -> Tensor:
        """What stands behind the layers, length adapter included: (B, T, D) -> (B, T', D)."""
        if features.is_text:
            return hidden
        hidden = hidden + 0.5 * self.hf.intermediate_ffn(hidden)
        if self.hf.adapter is not None:
            is_pad = features.is_pad
            lens = torch.tensor([hidden.shape[1]] * len(hidden))
            if is_pad is not None:
                lens = (~is_pad).sum(1)
            hidden = by_length(hidden, lens, lambda alone, _: (self.hf.adapter(alone, None),))[0]
        return self.hf.inner_layer_norm(hidden)  # type: ignore[no-any-return]

    def forward(self, features: Features) -> Tensor:
        """Encode: (B, T, F) frames or (B, T) token ids -> (B, T', D)."""
        return self.upper(self.lower(features, self.n_layers), self.n_layers, features)


class SeamlessModel(Seq2SeqModel):
    """SeamlessM4T under the token of one language.

    ``hf`` is a ``SeamlessM4TForSpeechToText`` (or v2), with a ``text_encoder`` beside it where the
    checkpoint has one; see ``seamless_class``.
    """

    tied = (
        "lm_head.weight",
        "text_decoder.embed_tokens.weight",
        "text_encoder.embed_tokens.weight",
    )
    encoder: SeamlessEncoder
    tokenizer: SeamlessTokens

    def text_features(
        self, sources: Sequence[str], language: str = "en", target: str | None = None
    ) -> Features:
        """Collate texts that are to be translated; ``encoder`` takes them as it takes speech.

        Args:
            sources: Texts.
            language: BCP-47 tag of all of them.
            target: Not looked at: what is written follows from the prompt.

        Returns:
            Token ids (B, T) int64, their lengths in tokens.

        Raises:
            BaseError: There is no text encoder, or the base has no token for the language.
        """
        if self.encoder.text is None:
            raise BaseError(
                f"{self.info['base']['name']} has no text encoder, so it cannot be taught from "
                "pairs of texts; take the whole checkpoint (facebook/seamless-m4t-v2-large)"
            )
        rows = [torch.tensor(self.tokenizer.source(text, language)) for text in sources]
        lens = torch.tensor([len(row) for row in rows])
        pad = self.tokenizer.pad
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        return Features(ids, lens, torch.arange(ids.shape[1]) >= lens[:, None])

    def is_pad(self, states: Tensor, input_lens: Tensor) -> Tensor | None:
        """Encoder states (B, T') that are padding; None where none is.

        A token of text gives one state, while a state of speech takes hundreds of samples: so
        there are as many states as the longest input only where that is text.
        """
        n_states = states.shape[1]
        is_text = n_states >= int(input_lens.max())
        lens = input_lens if is_text else self.out_lens(input_lens)
        padded = torch.arange(n_states, device=states.device) >= lens.to(states.device)[:, None]
        return padded if bool(padded.any()) else None

    def set_generation_config(self) -> None:
        """No special token may be written; the languages are named as ``generate`` wants them."""
        config, tokens = self.hf.generation_config, self.tokenizer
        allowed = set(tokens.allowed)
        config.suppress_tokens = [i for i in range(tokens.n_vocab) if i not in allowed]
        config.text_decoder_lang_to_code_id = dict(tokens.languages)
        # vocoder and text-to-unit model are left behind: this is what the folder holds
        self.hf.config.architectures = [
            kind.__name__
            for kind in type(self.hf).__mro__
            if kind.__name__.endswith("ForSpeechToText")
        ][:1]


def seamless_class(model_type: str, *, with_text: bool) -> Any:
    """Find the speech-to-text class of transformers, or make one that has the text encoder too.

    transformers itself has both encoders only in the class that also has the vocoder.

    Args:
        model_type: One of ``SEAMLESS``.
        with_text: The names of its weights are those of ``SeamlessM4TModel``, so that a saved
            folder also opens as ``SeamlessM4TForTextToText``.
    """
    import transformers

    name = "SeamlessM4Tv2" if model_type == SEAMLESS[1] else "SeamlessM4T"
    speech: Any = getattr(transformers, f"{name}ForSpeechToText")
    if not with_text:
        return speech
    text_encoder = getattr(sys.modules[speech.__module__], f"{name}Encoder")

    class WithTextEncoder(speech):  # type: ignore[misc]
        _keys_to_ignore_on_load_missing = None  # half a text encoder is a damaged file

        def __init__(self, config: Any) -> None:
            super().__init__(config)  # which ties what is there by then
            self.text_encoder = text_encoder(config)
            own = {"text_encoder.embed_tokens.weight": "shared.weight"}
            self._tied_weights_keys = speech._tied_weights_keys | own
            self.post_init()

    return WithTextEncoder


def seamless_encoder(hf: Any, extractor: Any) -> SeamlessEncoder:
    """Wrap the encoders of a ``seamless_class``."""
    return SeamlessEncoder(hf.speech_encoder, extractor, getattr(hf, "text_encoder", None))
