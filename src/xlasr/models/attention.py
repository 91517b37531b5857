"""An attention decoder of our own on any speech encoder: letters or pieces, two small layers.

For bases that have none (wav2vec 2.0 kinds, Emformers, the Conformer), and for encoders that
another task has trained: only the encoder is carried over, the decoder begins with random weights.
It is as wide as the encoder, so nothing stands between the two.

Source: Vaswani et al. 2017 (arXiv 1706.03762), norms before the sublayers (mBART's, arXiv
2001.08210, through transformers); as the task decoder of arXiv 2403.19822, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlasr.errors import UsageError
from xlasr.models.encoders import Features
from xlasr.models.pieces import UNKNOWN, PieceTokenizer, SymbolTokenizer
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.streaming import SpeechEncoder


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the decoder; saved with the weights.

    Args:
        layers: Of the decoder.
        ffn_dim: Width inside of a feed-forward module; None is four times that of the encoder.
        dropout: In training.
        max_tokens: Positions, begin and end included.
    """

    layers: int = 2
    ffn_dim: int | None = None
    dropout: float = 0.1
    max_tokens: int = 448


class DecoderTokens:
    """Letters or pieces as a decoder writes them; id 0, a blank elsewhere, begins and ends.

    Args:
        inner: The letters or pieces.
    """

    eot = 0
    blank = 0  # of a CTC head beside the decoder
    prompt = (0,)

    def __init__(self, inner: SymbolTokenizer) -> None:
        self.inner = inner
        self.symbols = inner.symbols
        hidden = UNKNOWN if isinstance(inner, PieceTokenizer) else None
        self.allowed = [i for i in range(len(inner)) if i != hidden]
        """Ids that may be decoded."""

    def __len__(self) -> int:
        """Rows of the embedding."""
        return len(self.inner)

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone."""
        return self.inner.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; begin and end are left out."""
        return self.inner.decode(i for i in ids if i != self.eot)

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Letters of ``texts`` that cannot be written, with counts."""
        return self.inner.unknown(texts)

    def for_language(self, language: str) -> DecoderTokens:
        """Return the same: no token names a language."""
        return self

    def sample(self, text: str, dropout: float, uniform: Callable[[], float]) -> list[int]:
        """There is no BPE to leave merges out of.

        Raises:
            UsageError: Always.
        """
        raise UsageError("bpe_dropout is for Whisper's pieces; leave it out")

    def save(self, folder: Path) -> None:
        """Write the letters or pieces."""
        self.inner.save(folder)


class EncoderDecoder(nn.Module):
    """The network: transformers' mBART decoder behind a speech encoder, and an output layer.

    Args:
        encoder: Network of a speech encoder.
        dim: Width of its states.
        n_classes: Tokens.
        shape: Sizes of the decoder.
    """

    def __init__(self, encoder: Any, dim: int, n_classes: int, shape: DecoderShape) -> None:
        from transformers import MBartConfig
        from transformers.models.mbart.modeling_mbart import MBartDecoder

        super().__init__()
        self.encoder = encoder
        self.config = encoder.config
        self.decoder = MBartDecoder(
            MBartConfig(
                vocab_size=n_classes,
                d_model=dim,
                decoder_layers=shape.layers,
                decoder_attention_heads=_heads(dim),
                decoder_ffn_dim=shape.ffn_dim or 4 * dim,
                dropout=shape.dropout,
                max_position_embeddings=shape.max_tokens,
                pad_token_id=None,  # id 0 is a token like others
            )
        )
        self.lm_head = nn.Linear(dim, n_classes, bias=False)

    def get_decoder(self) -> Any:
        """The decoder."""
        return self.decoder

    def get_output_embeddings(self) -> nn.Linear:
        """States to logits."""
        return self.lm_head

    def activation_checkpointing_enable(self, settings: dict[str, Any]) -> None:
        """Compute the inside of layers again in the backward pass, as transformers' models do."""
        for part in (self.encoder, self.decoder):
            part.activation_checkpointing_enable(settings)

    def _init_weights(self, module: nn.Module) -> None:
        inside = any(module is one for one in self.decoder.modules())
        (self.decoder if inside else self.encoder)._init_weights(module)


class AttentionModel(Seq2SeqModel):
    """A speech encoder and a decoder of its own.

    Args:
        encoder: A speech encoder.
        symbols: What is written.
        info: Where the model comes from; saved with it, and the shape too.
        shape: Sizes; None takes those in ``info``.
    """

    as_transformers = False
    tokenizer: DecoderTokens

    def __init__(
        self,
        encoder: SpeechEncoder,
        symbols: SymbolTokenizer,
        info: dict[str, Any],
        shape: DecoderShape | None = None,
    ) -> None:
        shape = shape or DecoderShape(**info["attention"])
        info["attention"] = asdict(shape)
        tokens = DecoderTokens(symbols)
        network = EncoderDecoder(encoder.hf, encoder.dim, len(tokens), shape)
        super().__init__(network, encoder, tokens, info)
        self.aids = nn.ModuleDict()  # by objective; see models.aids

    def log_probs(self, states: Tensor) -> Tensor:
        """CTC head on encoder states: (B, T', D) -> (B, T', V) log-probabilities, float32.

        It teaches a young encoder where the words are, which a decoder that begins at random does
        not find in little speech; it decodes nothing.

        Source: Kim, Hori and Watanabe 2017 (arXiv 1609.06773), section 3.1.
        """
        return torch.log_softmax(self.aids["ctc"](states).float(), dim=-1)

    def is_pad(self, states: Tensor, input_lens: Tensor) -> Tensor:
        """Encoder states (B, T') behind the end of a clip."""
        lens = self.out_lens(input_lens).to(states.device)
        return torch.arange(states.shape[1], device=states.device) >= lens[:, None]

    def text_features(
        self, sources: Sequence[str], language: str = "en", target: str | None = None
    ) -> Features:
        """Nothing reads text here.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "text without speech teaches this decoder nothing; take a base that reads text "
            "(Whisper, SeamlessM4T, multimodal-tiny), or speak the text: xlasr prepare --reader "
            "spoken-text"
        )


def _heads(dim: int) -> int:
    """About one for 64 of the width, and none left over."""
    return next(n for n in range(max(1, dim // 64), 0, -1) if dim % n == 0)
