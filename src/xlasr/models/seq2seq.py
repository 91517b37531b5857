"""Whisper as a recogniser of one language, also one it has no token for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlasr.models.encoders import Clips, Features, WhisperSpeechEncoder
from xlasr.models.tokenizer import WhisperTokens

if TYPE_CHECKING:
    from xlasr.models.parts import Part


class WhisperModel(nn.Module):
    """transformers' Whisper with the short-context encoder.

    Args:
        hf: ``WhisperForConditionalGeneration``.
        encoder: Wraps ``hf.model.encoder``.
        tokenizer: Whisper's BPE.
        info: Where the model comes from; saved with it.
    """

    family = "seq2seq"

    def __init__(
        self,
        hf: Any,
        encoder: WhisperSpeechEncoder,
        tokenizer: WhisperTokens,
        info: dict[str, Any],
    ) -> None:
        super().__init__()
        self.hf = hf
        # hf owns the encoder's parameters; registering the wrapper too would list them twice
        object.__setattr__(self, "encoder", encoder)
        self.tokenizer = tokenizer
        self.info = info
        self.adapter: Any = None  # a peft model, when LoRA was injected
        self.parts: dict[str, Part] = {}  # see models.parts
        self.active_part: str | None = None
        self.anchor: Any = None  # see objectives.ewc

    encoder: WhisperSpeechEncoder

    def train(self, mode: bool = True) -> WhisperModel:
        """Switch dropout on or off, in the encoder's wrapper too."""
        super().train(mode)
        self.encoder.train(mode)
        return self

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips at one context; see the encoder."""
        return self.encoder.features(clips, positions)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions that hold speech (int64) for lengths in samples."""
        return self.encoder.out_lens(input_lens)

    @property
    def max_tokens(self) -> int:
        """Decoder positions, prompt included."""
        return int(self.hf.config.max_target_positions)

    def target_ids(self, texts: Sequence[str], dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Teacher-forcing inputs and targets.

        Args:
            texts: Transcripts.
            dropout: Of merges of the BPE, drawn from PyTorch's generator; a segmentation that is
                too long for the decoder is not taken.

        Returns:
            Inputs (B, U): prompt, text. Targets (B, U): text, end; -100 on the prompt and on
            padding.
        """
        prompt, eot = self.tokenizer.prompt, self.tokenizer.eot
        rows = [self.tokenizer.encode(t) for t in texts]
        if dropout:
            drawn = [
                self.tokenizer.sample(t, dropout, lambda: float(torch.rand(()))) for t in texts
            ]
            room = self.max_tokens - len(prompt) - 1
            rows = [d if len(d) <= room else r for d, r in zip(drawn, rows, strict=True)]
        width = len(prompt) + max(len(r) for r in rows)
        inputs = torch.full((len(rows), width), eot)
        targets = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            sequence = torch.tensor(prompt + row)
            inputs[i, : len(sequence)] = sequence
            targets[i, len(prompt) - 1 : len(sequence)] = torch.tensor([*row, eot])
        return inputs, targets

    def decoder_states(self, states: Tensor, inputs: Tensor) -> Tensor:
        """Teacher-forced decoder: (B, T', D), (B, U) -> (B, U, D)."""
        out = self.hf.model.decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def cut_vocabulary(self, tokenizer: WhisperTokens, old_ids: list[int]) -> None:
        """Keep only the embedding rows ``old_ids``, in the order of the cut tokenizer."""
        old = self.hf.model.decoder.embed_tokens
        kept = nn.Embedding(len(old_ids), old.embedding_dim)
        with torch.no_grad():
            kept.weight.copy_(old.weight[torch.tensor(old_ids)])
        self.hf.model.decoder.embed_tokens = kept
        self.hf.proj_out = nn.Linear(old.embedding_dim, len(old_ids), bias=False)
        self.hf.proj_out.weight = kept.weight
        remap_token_ids(self.hf, self.tokenizer, {old: new for new, old in enumerate(old_ids)})
        self.tokenizer = tokenizer

    def forward(self, features: Features, inputs: Tensor) -> Tensor:
        """Logits (B, U, V) of a teacher-forced pass."""
        states = self.encoder(features)
        return self.hf.proj_out(self.decoder_states(states, inputs))  # type: ignore[no-any-return]


def remap_token_ids(hf: Any, tokenizer: WhisperTokens, new_id: dict[int, int]) -> None:
    """Rewrite every token id in the configs after the vocabulary was cut.

    Ids that were cut away are dropped from lists; where one id is needed it is the end token's.
    """
    end = new_id[tokenizer.eot]
    for config in (hf.config, hf.generation_config):
        for key in (
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "decoder_start_token_id",
            "no_timestamps_token_id",
            "prev_sot_token_id",
        ):
            value = getattr(config, key, None)
            if isinstance(value, int):  # some checkpoints pad with a piece that is no special
                setattr(config, key, new_id.get(value, end))
            elif isinstance(value, list):
                setattr(config, key, [new_id[i] for i in value if i in new_id] or end)
        for key in ("suppress_tokens", "begin_suppress_tokens"):
            value = getattr(config, key, None)
            if value:
                setattr(config, key, [new_id[i] for i in value if i in new_id])
        forced = getattr(config, "forced_decoder_ids", None)
        if forced:
            config.forced_decoder_ids = [[at, new_id[i]] for at, i in forced if i in new_id]
        for key in ("lang_to_id", "task_to_id"):
            table = getattr(config, key, None)
            if table:
                setattr(config, key, {k: new_id[i] for k, i in table.items() if i in new_id})
    hf.config.vocab_size = len(new_id)


def set_generation_config(hf: Any, tokenizer: WhisperTokens) -> None:
    """Let plain transformers decode as xlasr does: the same prompt, the same tokens allowed.

    OpenAI's suppression lists forbid quotes, brackets and an empty transcript; a model that was
    taught on transcripts may say what they hold. Special tokens stay forbidden.
    """
    config = hf.generation_config
    config.suppress_tokens = list(range(tokenizer.eot + 1, tokenizer.no_timestamps + 1))
    config.begin_suppress_tokens = None
    config.forced_decoder_ids = hf.config.forced_decoder_ids = None
    config.is_multilingual = tokenizer.multilingual
    if tokenizer.multilingual:
        language, task = tokenizer.prompt[1], tokenizer.prompt[2]
        names = {i: name for name, i in (getattr(config, "lang_to_id", None) or {}).items()}
        tasks = {i: name for name, i in (getattr(config, "task_to_id", None) or {}).items()}
        config.language, config.task = names.get(language), tasks.get(task)
