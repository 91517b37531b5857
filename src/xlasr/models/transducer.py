"""A transducer on any speech encoder: predictor, joiner, and the simple joiner that prunes.

With the objective ``ctc`` a CTC head stands beside them (``models/aids.py``): it teaches the
encoder while the lattice is still noise, and is not needed to decode.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlasr.errors import BaseError, UsageError
from xlasr.models.encoders import Clips, Features
from xlasr.models.pieces import SymbolTokenizer
from xlasr.models.streaming import SpeechEncoder
from xlasr.models.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from xlasr.models.parts import Part

State = tuple[Tensor, Tensor]
"""Of a predictor's LSTM layers: hidden and cell, each (layers, N, H)."""


@dataclass(frozen=True)
class TransducerShape:
    """Sizes of predictor and joiner, and the topology; saved with the weights.

    Args:
        predictor_layers: LSTM layers.
        predictor_dim: Their width, and that of the embedding.
        joiner_dim: Width in which encoder and predictor are added.
        modified: At most one symbol a frame, in training and in decoding.
    """

    predictor_layers: int = 1
    predictor_dim: int = 256
    joiner_dim: int = 256
    modified: bool = False


class Predictor(nn.Module):
    """Embedding and LSTM layers, each with a layer norm behind it: reads what was written.

    Args:
        n_classes: Blank included; the blank's embedding stands for the beginning.
        shape: Sizes.
        dropout: Behind each layer, in training.
    """

    def __init__(self, n_classes: int, shape: TransducerShape, dropout: float = 0.1) -> None:
        super().__init__()
        dim = shape.predictor_dim
        self.embedding = nn.Embedding(n_classes, dim)
        layers = range(shape.predictor_layers)
        self.lstm = nn.ModuleList(nn.LSTM(dim, dim, batch_first=True) for _ in layers)
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read (N, L) ids behind a state: (N, L, H), and the state behind the last."""
        x = self.embedding(ids)
        hidden, cell = [], []
        for i, (lstm, norm) in enumerate(zip(self.lstm, self.norm, strict=True)):
            before = None if state is None else (state[0][i : i + 1], state[1][i : i + 1])
            x, (h, c) = lstm(x, before)
            x = self.dropout(norm(x))
            hidden.append(h)
            cell.append(c)
        return x, (torch.cat(hidden), torch.cat(cell))


class Joiner(nn.Module):
    """Linear each, sum, tanh, linear: what comes next, given a frame and what was written."""

    def __init__(self, encoder_dim: int, n_classes: int, shape: TransducerShape) -> None:
        super().__init__()
        self.encoder = nn.Linear(encoder_dim, shape.joiner_dim)
        self.predictor = nn.Linear(shape.predictor_dim, shape.joiner_dim, bias=False)
        self.output = nn.Linear(shape.joiner_dim, n_classes)

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Logits (..., V) of projected states that broadcast: (..., J) and (..., J)."""
        logits: Tensor = self.output((encoder + predictor).tanh())
        return logits


class SimpleJoiner(nn.Module):
    """Logits of encoder and predictor alone, that are only added: finds the window to look at."""

    def __init__(self, encoder_dim: int, n_classes: int, shape: TransducerShape) -> None:
        super().__init__()
        self.encoder = nn.Linear(encoder_dim, n_classes)
        self.predictor = nn.Linear(shape.predictor_dim, n_classes)


class Transducer(nn.Module):
    """Encoder, predictor, joiner.

    Source: Graves 2012 (arXiv 1211.3711).

    Args:
        encoder: A speech encoder.
        tokenizer: Letters or pieces; id 0 is the blank.
        info: Where the model comes from; saved with it, and the shape too.
        shape: Sizes and topology; None takes those in ``info``.
        dropout: In predictor and before the joiner, in training.
    """

    family = "transducer"

    def __init__(
        self,
        encoder: SpeechEncoder,
        tokenizer: SymbolTokenizer,
        info: dict[str, Any],
        shape: TransducerShape | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.shape = shape or TransducerShape(**info["transducer"])
        self.encoder = encoder
        self.info = info
        info["transducer"] = asdict(self.shape)
        self.dropout = nn.Dropout(dropout)
        self.aids = nn.ModuleDict()  # by objective; see models.aids
        self.replace(tokenizer)
        self.adapter: Any = None  # a peft model, when LoRA was injected
        self.parts: dict[str, Part] = {}  # see models.parts
        self.active_part: str | None = None
        self.anchor: Any = None  # see objectives.ewc

    predictor: Predictor
    joiner: Joiner
    simple: SimpleJoiner
    tokenizer: SymbolTokenizer

    def replace(self, tokenizer: SymbolTokenizer) -> None:
        """New symbols: predictor and joiners are drawn anew, the encoder is carried over."""
        n_classes = len(tokenizer)
        self.tokenizer = tokenizer
        self.predictor = Predictor(n_classes, self.shape, self.dropout.p)
        self.joiner = Joiner(self.encoder.dim, n_classes, self.shape)
        self.simple = SimpleJoiner(self.encoder.dim, n_classes, self.shape)
        self.aids.clear()  # a CTC head knew the old symbols

    def extend(self, tokenizer: CharTokenizer) -> None:
        """Grow by new letters; the letters it has keep their ids and rows.

        Raises:
            BaseError: It writes pieces, or ``tokenizer`` does not begin with the letters it has.
        """
        old = self.tokenizer
        n = len(old)
        if not isinstance(old, CharTokenizer) or tokenizer.symbols[: n - 1] != old.symbols:
            raise BaseError(
                "a transducer can only be extended behind its last letter, and one that writes "
                "pieces not at all: say output.mode: replace, or pretrain on pieces of all texts "
                "(output.extra_text)"
            )
        before = [(k, v) for k, v in self.named_parameters() if not k.startswith("encoder.")]
        had_ctc = "ctc" in self.aids
        self.replace(tokenizer)
        if had_ctc:
            self.aids["ctc"] = nn.Linear(self.encoder.dim, len(tokenizer))
        now = dict(self.named_parameters())
        with torch.no_grad():
            for name, weights in before:
                now[name][: len(weights)] = weights

    @property
    def by_ctc(self) -> bool:
        """Whether only its CTC head has been trained: it writes until the joiner is."""
        return self.info.get("decoder") == "ctc"

    def log_probs(self, states: Tensor) -> Tensor:
        """CTC head on encoder states: (B, T', D) -> (B, T', V) log-probabilities, float32.

        Raises:
            BaseError: There is no such head: no stage had the objective ``ctc``.
        """
        if "ctc" not in self.aids:
            raise BaseError("this transducer has no CTC head; give its stage the objective ctc too")
        logits = self.aids["ctc"](self.dropout(states))
        return torch.log_softmax(logits.float(), dim=-1)

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips; see the encoder."""
        return self.encoder.features(clips, positions)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions (int64) for lengths in samples."""
        return self.encoder.out_lens(input_lens)

    def predict(self, targets: Tensor) -> Tensor:
        """Predictor states behind 0 to U symbols: (B, U) -> (B, U+1, H)."""
        start = targets.new_full((len(targets), 1), self.tokenizer.blank)
        states: Tensor = self.predictor(torch.cat([start, targets], dim=1))[0]
        return states

    def forward(self, features: Features, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T', U+1, V) of targets (B, U), and lengths (B,) int64.

        Raises:
            UsageError: ``targets`` are not (B, U).
        """
        if targets.ndim != 2 or len(targets) != len(features.values):
            raise UsageError(
                f"{len(features.values)} clips need targets of (B, U); found {tuple(targets.shape)}"
            )
        encoder = self.joiner.encoder(self.dropout(self.encoder(features)))
        predictor = self.joiner.predictor(self.predict(targets))
        logits = self.joiner(encoder[:, :, None], predictor[:, None])
        return logits, self.out_lens(features.input_lens)
