"""A small multimodal recogniser with the parts of SeamlessM4T, made of a Whisper.

    speech -> Whisper's encoder -> length adapter -+
                                                   +-> Whisper's decoder -> text
    text   -> text encoder ------------------------+

Speech and text go through one decoder, so what it learns from pairs of texts it also writes for
speech. The length adapter is SeamlessM4T's own class; the text encoder has Whisper's layers and
reads with the decoder's embedding. Both have to be learnt (recipe ``multimodal-pretrain``), and a
run that has learnt them is the base on which arXiv 2410.13445 can be repeated.

Source: Seamless Communication et al. 2023 (arXiv 2308.11596); adapted as in arXiv 2410.13445.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlasr.data.text import normalise
from xlasr.errors import BaseError
from xlasr.features.logmel import SAMPLE_RATE
from xlasr.models.encoders import Clips, Context, Features, WhisperSpeechEncoder, by_length
from xlasr.models.seq2seq import WhisperModel

MULTIMODAL = "xlasr_multimodal"
"""Value of ``model_type``; transformers has no such class."""
TEXT_MULTIPLE = 8
"""A source is as long as its tokens and its end, rounded up to this; so few lengths occur. What is
added is part of the input, as the silence behind a clip is."""
SHORTEST_SAMPLES = SAMPLE_RATE // 20
"""A shorter clip counts as this long. So a clip always has more samples than 30 s have states, and
a text never more tokens than states, which is how the two are told apart."""
TIED = "proj_out.weight"
"""The embedding, under another name; saved once."""
NEW = re.compile(r"\.adapter\.|^text_encoder\.")
_BUILDER = 1  # raise it when the built files change, and caches are written again


class MultimodalEncoder(WhisperSpeechEncoder):
    """Whisper's encoder and the length adapter; beside them the text encoder.

    Positions are Whisper's (50 a second), for they say how much of a clip is encoded; ``out_lens``
    and the states are those behind the length adapter.

    Args:
        model: Of the class that ``multimodal_class`` returns.
        context: As for Whisper.
    """

    tail = ("layer_norm.", "adapter.")

    def __init__(self, model: Any, context: Context | None) -> None:
        super().__init__(model.model.encoder, context)
        # not registered: modules of the decoder are no part of an encoder
        object.__setattr__(self, "length_adapter", self.hf.adapter)
        object.__setattr__(self, "text", model.text_encoder)
        object.__setattr__(self, "decoder", model.model.decoder)
        self.text: Any
        self.decoder: Any

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """States that hold speech (int64), for lengths in samples."""
        lens = super().out_lens(input_lens)
        for layer in self.hf.adapter.layers:
            padding = 2 * (layer.stride // 2)
            lens = (lens + padding - layer.kernel_size) // layer.stride + 1
        return lens

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips at one context; see ``WhisperSpeechEncoder``."""
        found = super().features(clips, positions)
        return Features(found.values, found.input_lens.clamp(min=SHORTEST_SAMPLES))

    def upper(self, hidden: Tensor, first: int, features: Features) -> Tensor:
        """Layers from ``first`` on, closing norm, length adapter: (B, T, D) -> (B, T', D)."""
        return self.hf.adapter(super().upper(hidden, first, features), None)  # type: ignore[no-any-return]

    def forward(self, features: Features) -> Tensor:
        """Encode: (B, n_mels, 2 T) frames or (B, U) token ids -> (B, T', D)."""
        if features.is_text:
            lens = text_positions(features.input_lens)
            return by_length(features.values, lens, lambda ids, _: (self.read(ids),))[0]
        return self.upper(self.stem(features), 0, features)

    def read(self, ids: Tensor) -> Tensor:
        """Text encoder: (B, U) token ids, nothing of them masked -> (B, U, D)."""
        embedded = self.decoder.embed_tokens(ids)
        return self.text(embedded + self.decoder.embed_positions.weight[: ids.shape[1]])  # type: ignore[no-any-return]


class MultimodalModel(WhisperModel):
    """A recogniser and translator: it writes what it hears, or what it reads in another language.

    Which language is written of a text stands before the text, as letters ("es: good morning"), so
    the decoder has no token for it and speech needs none.
    """

    encoder: MultimodalEncoder

    def text_features(
        self, sources: Sequence[str], language: str = "en", target: str | None = None
    ) -> Features:
        """Collate texts that are to be translated; ``encoder`` takes them as it takes speech.

        They are read in the form in which the model writes (``info['text']``).

        Args:
            sources: Texts.
            language: BCP-47 tag of all of them; nobody tells the model.
            target: Of what is to be written; None is the model's language.

        Returns:
            Token ids (B, U) int64, their lengths in tokens.

        Raises:
            BaseError: A text is longer than the decoder's positions, which are those of the text
                encoder too.
        """
        written = (target or str(self.info["language"])).split("-")[0]
        rows = []
        for source in sources:
            text = f"{written}: {normalise(source, str(self.info['text']))}"
            rows.append(torch.tensor([*self.tokenizer.encode(text), self.tokenizer.eot]))
        lens = torch.tensor([len(row) for row in rows])
        positions = text_positions(lens)
        longest = int(positions.argmax())
        limit = self.max_tokens // TEXT_MULTIPLE * TEXT_MULTIPLE
        if int(positions[longest]) > limit:
            raise BaseError(
                f"a text of {int(lens[longest])} tokens is too long for the text encoder, which "
                f"reads {limit}: {sources[longest][:60]!r}; cut it into sentences"
            )
        ids = torch.full((len(rows), int(positions.max())), self.tokenizer.eot)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
        return Features(ids, lens, torch.arange(ids.shape[1]) >= positions[:, None])

    def decoder_states(
        self, states: Tensor, inputs: Tensor, input_lens: Tensor | None = None
    ) -> Tensor:
        """Teacher-forced decoder; see ``Seq2SeqModel``.

        Texts are decoded one length at a time: transformers' Whisper decoder has no mask for what
        it attends to.
        """
        if input_lens is None or states.shape[1] < int(input_lens.max()):
            return super().decoder_states(states, inputs)

        def run(alone: Tensor, rows: Tensor) -> tuple[Tensor]:
            return (super(MultimodalModel, self).decoder_states(alone, inputs[rows]),)

        return by_length(states, text_positions(input_lens), run)[0]

    def set_generation_config(self) -> None:
        """As Whisper's; the folder names the class that it holds."""
        super().set_generation_config()
        self.hf.config.architectures = [type(self.hf).__name__]


def text_positions(lens: Tensor) -> Tensor:
    """States (int64) of texts of so many tokens, end included."""
    return -(-lens // TEXT_MULTIPLE) * TEXT_MULTIPLE


class TextEncoder(nn.Module):
    """Whisper's encoder layers and a closing norm, on embedded text: (B, U, D) -> (B, U, D).

    Args:
        config: Of the class that ``multimodal_class`` returns.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

        super().__init__()
        sizes = copy.deepcopy(config)  # as the decoder's, whose layers it begins as
        sizes.encoder_ffn_dim = config.decoder_ffn_dim
        sizes.encoder_attention_heads = config.decoder_attention_heads
        self.layers = nn.ModuleList(WhisperEncoderLayer(sizes) for _ in range(config.text_layers))
        self.layer_norm = nn.LayerNorm(config.d_model)
        self.dropout: float = config.dropout

    def forward(self, hidden: Tensor) -> Tensor:
        """Read; nothing is masked."""
        hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        for layer in self.layers:
            hidden = layer(hidden, None)
        return self.layer_norm(hidden)  # type: ignore[no-any-return]


@cache
def multimodal_class() -> Any:
    """Make the transformers class: Whisper with a length adapter and a text encoder."""
    import transformers
    from transformers.models.seamless_m4t.modeling_seamless_m4t import SeamlessM4TConformerAdapter

    class MultimodalConfig(transformers.WhisperConfig):  # type: ignore[misc]
        model_type = MULTIMODAL
        length_stride: int = 4
        length_kernel: int = 4
        text_layers: int = 2

    class WhisperWithText(transformers.WhisperForConditionalGeneration):  # type: ignore[misc]
        config_class = MultimodalConfig
        _keys_to_ignore_on_load_missing = None

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            sizes = transformers.SeamlessM4TConfig(
                hidden_size=config.d_model,
                speech_encoder_attention_heads=config.encoder_attention_heads,
                speech_encoder_intermediate_size=config.encoder_ffn_dim,
                speech_encoder_dropout=config.attention_dropout,
                adaptor_dropout=config.dropout,
                adaptor_kernel_size=config.length_kernel,
                adaptor_stride=config.length_stride,
                num_adapter_layers=1,
            )
            sizes._attn_implementation = config._attn_implementation
            self.model.encoder.adapter = SeamlessM4TConformerAdapter(sizes)
            self.text_encoder = TextEncoder(config)
            self.post_init()

    return WhisperWithText


def build_multimodal(
    whisper: Path, out: Path, *, stride: int = 4, text_layers: int = 2, seed: int = 0
) -> Path:
    """Write a Whisper with new parts, as a base.

    They begin near what the decoder knows: the length adapter as the mean of ``stride`` states,
    the text encoder as the lowest layers of the decoder without what they hear.

    Args:
        whisper: transformers directory.
        out: A folder that does not exist yet; it appears only when it is complete.
        stride: Of the length adapter, and the width of its convolutions (SeamlessM4T: 8).
        text_layers: Of the text encoder; at most those of the decoder.
        seed: Of the weights that are drawn: convolution, queries, keys, values and the first half
            of the feed-forward layer of the length adapter.

    Raises:
        BaseError: More layers than the decoder has, or a stride that leaves nothing to learn.
    """
    from safetensors.torch import load_file, save_file
    from transformers import WhisperConfig

    config = WhisperConfig.from_pretrained(whisper)
    if not 1 <= text_layers <= config.decoder_layers or stride < 2:
        raise BaseError(
            f"a multimodal model needs a stride of 2 or more (found {stride}) and 1 to "
            f"{config.decoder_layers} layers for text (found {text_layers}), as many as the "
            "decoder has to begin with"
        )
    kind = multimodal_class()
    sizes = {k: v for k, v in config.to_dict().items() if k not in ("model_type", "architectures")}
    own = {"length_stride": stride, "length_kernel": stride, "text_layers": text_layers}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(kind.config_class(**sizes, **own))
    state: dict[str, Tensor] = {}
    for path in whisper.glob("*.safetensors"):
        state |= load_file(str(path))
    wanted = {k: v.shape for k, v in model.state_dict().items() if k != TIED and not NEW.search(k)}
    found = {k: v.shape for k, v in state.items() if k != TIED}
    if wrong := sorted(k for k in wanted.keys() | found if wanted.get(k) != found.get(k)):
        raise BaseError(
            f"{whisper} does not hold the Whisper of its config.json; missing, left over or of "
            f"another shape: {', '.join(wrong[:3])}"
        )
    model.load_state_dict(state, strict=False)
    _begin(model)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != TIED}
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        for path in whisper.glob("*.json"):
            shutil.copyfile(path, new / path.name)
        model.config.architectures = [kind.__name__]
        model.config.save_pretrained(new)
        save_file(state, str(new / "model.safetensors"), metadata={"format": "pt"})
        os.rename(new, out)
    return out


@torch.no_grad()
def _begin(model: Any) -> None:
    """Weights of the new parts with which the decoder understands them from the start."""
    encoder, decoder, text = model.model.encoder, model.model.decoder, model.text_encoder
    closing = encoder.layer_norm
    layer = encoder.adapter.layers[0]
    norm, conv = layer.residual_layer_norm, layer.residual_conv
    # the norm takes away the scale of Whisper's own, on the average state it is given back
    norm.weight.fill_((closing.weight.square().mean() + closing.bias.var()).sqrt())
    norm.bias.fill_(closing.bias.mean())
    conv.weight.zero_()
    conv.bias.zero_()
    channels = torch.arange(conv.in_channels)
    conv.weight[channels, channels] = 2 / conv.kernel_size[0]  # its gate, of zero, is one half
    for last in (layer.self_attn.linear_out, layer.ffn.output_dense):
        last.weight.zero_()
        last.bias.zero_()
    for own, lower in zip(text.layers, decoder.layers, strict=False):
        kept = {k: v for k, v in lower.state_dict().items() if not k.startswith("encoder_attn")}
        own.load_state_dict(kept)
    text.layer_norm.load_state_dict(closing.state_dict())


def built_in(whisper: Path, out: Path) -> Path:
    """The base ``multimodal-tiny``, built from ``whisper-tiny.en`` the first time.

    Args:
        whisper: Folder of ``whisper-tiny.en``.
        out: In the cache; what it is made of is added to its name.
    """
    version = f"{json.loads((whisper / 'source.json').read_text('utf-8'))}, builder {_BUILDER}"
    found = out.with_name(f"{out.name}-{hashlib.sha256(version.encode()).hexdigest()[:8]}")
    if not found.exists():
        try:
            build_multimodal(whisper, found)
        except OSError:
            if not found.exists():  # otherwise another process was faster: its copy is as good
                raise
    return found
