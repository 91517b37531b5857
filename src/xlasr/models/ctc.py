"""CTC heads over letters or phones on any speech encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlasr.errors import BaseError
from xlasr.models.encoders import Clips, Features
from xlasr.models.streaming import SpeechEncoder
from xlasr.models.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from xlasr.models.parts import Part


class CTCModel(nn.Module):
    """Encoder, dropout, linear head; or a head for each language, of which one is active.

    ``head`` and ``tokenizer`` are the active ones. Where languages have heads of their own,
    ``heads`` holds all of them, and ``models.parts.use_part`` switches.

    Source: Graves et al. 2006 (CTC); a new head on a pretrained encoder as in Baevski et al. 2020
    (wav2vec 2.0, section 4.2).

    Args:
        encoder: A speech encoder.
        tokenizer: The alphabet; id 0 is the blank.
        info: Where the model comes from; saved with it.
        dropout: Before the head, in training.
    """

    family = "ctc"

    def __init__(
        self,
        encoder: SpeechEncoder,
        tokenizer: CharTokenizer,
        info: dict[str, Any],
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.info = info
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict()  # by part; before `head`, so that names do not depend on it
        self.head = nn.Linear(encoder.dim, len(tokenizer))
        self.aids = nn.ModuleDict()  # by objective; see models.aids
        self.adapter: Any = None  # a peft model, when LoRA was injected
        self.parts: dict[str, Part] = {}  # see models.parts
        self.active_part: str | None = None
        self.anchor: Any = None  # see objectives.ewc

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips; see the encoder."""
        return self.encoder.features(clips, positions)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions (int64) for lengths in samples."""
        return self.encoder.out_lens(input_lens)

    def log_probs(self, states: Tensor) -> Tensor:
        """Head on encoder states: (B, T', D) -> (B, T', V) log-probabilities, float32."""
        logits = self.head(self.dropout(states))
        return torch.log_softmax(logits.float(), dim=-1)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, T', V) and lengths (B,) int64."""
        return self.log_probs(self.encoder(features)), self.out_lens(features.input_lens)

    def extend(self, tokenizer: CharTokenizer) -> None:
        """Grow the head by new letters; the letters it has keep their ids and rows.

        Raises:
            BaseError: ``tokenizer`` does not begin with the letters the head has.
        """
        known = self.tokenizer.symbols
        if tokenizer.symbols[: len(known)] != known:
            raise BaseError(
                "the head can only be extended behind its last letter; build the new alphabet "
                "with CharTokenizer.extended"
            )
        head = nn.Linear(self.encoder.dim, len(tokenizer))
        with torch.no_grad():
            head.weight[: len(known) + 1] = self.head.weight
            head.bias[: len(known) + 1] = self.head.bias
        self.head, self.tokenizer = head, tokenizer
