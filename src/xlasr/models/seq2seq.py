"""Encoder-decoder recognisers: what Whisper and SeamlessM4T share, and Whisper itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlasr.models.encoders import Clips, Features, WhisperSpeechEncoder
from xlasr.models.tokenizer import WhisperTokens

if TYPE_CHECKING:
    from xlasr.models.parts import Part


class Seq2SeqModel(nn.Module):
    """A transformers encoder-decoder whose encoder is wrapped; a subclass for each kind of base.

    Args:
        hf: The transformers model with its output layer.
        encoder: Wraps the speech encoder of ``hf``.
        tokenizer: Pieces, prompt and end token.
        info: Where the model comes from; saved with it.
    """

    family = "seq2seq"
    tied: tuple[str, ...] = ()
    """Names in ``hf`` of weights that are the embedding's too; saved once."""
    as_transformers = True
    """Whether it is saved as a folder that transformers opens."""

    encoder: Any
    tokenizer: Any

    def __init__(self, hf: Any, encoder: Any, tokenizer: Any, info: dict[str, Any]) -> None:
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

    def train(self, mode: bool = True) -> Seq2SeqModel:
        """Switch dropout on or off, in the encoder's wrapper too."""
        super().train(mode)
        self.encoder.train(mode)
        return self

    @property
    def decoder(self) -> Any:
        """The decoder of ``hf``; its layers are ``decoder.layers``."""
        return self.hf.get_decoder()

    @property
    def trunk(self) -> Any:
        """Encoder and decoder."""
        return self.hf

    @property
    def output_layer(self) -> Any:
        """States (..., D) to logits (..., V)."""
        return self.hf.get_output_embeddings()

    @property
    def max_tokens(self) -> int:
        """Decoder positions, prompt included."""
        return int(self.decoder.max_target_positions)

    @property
    def room(self) -> int:
        """The most tokens that a text can have: prompt and end need a place too."""
        return self.max_tokens - len(self.tokenizer.prompt) - 1

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Collate clips (of one context, for Whisper); see the encoder."""
        return self.encoder.features(clips, positions)  # type: ignore[no-any-return]

    def text_features(
        self, sources: Sequence[str], language: str = "en", target: str | None = None
    ) -> Features:
        """Collate texts that take the place of speech; ``encoder`` takes them as well.

        Args:
            sources: Texts.
            language: BCP-47 tag of all of them.
            target: Of what is to be written, for models that are not prompted for it; None is the
                model's language.

        Returns:
            Token ids (B, U) int64, their lengths in tokens.
        """
        raise NotImplementedError

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions that hold speech (int64) for lengths in samples."""
        return self.encoder.out_lens(input_lens)  # type: ignore[no-any-return]

    def set_language(self, language: str, prompt_language: str | None = None) -> None:
        """Say what will be recognised, and under which language's token it is prompted.

        Args:
            language: BCP-47 tag.
            prompt_language: Of the prompt, where the base has no token for ``language``.

        Raises:
            BaseError: The base has no token for it.
        """
        self.tokenizer = self.tokenizer.for_language(prompt_language or language)
        self.info["language"] = language
        self.info.pop("prompt_language", None)
        if prompt_language is not None:
            self.info["prompt_language"] = prompt_language

    def set_generation_config(self) -> None:
        """Let plain transformers decode as xlasr does; before the model is saved."""
        raise NotImplementedError

    def is_pad(self, states: Tensor, input_lens: Tensor) -> Tensor | None:
        """Encoder states (B, T') that the decoder must not hear; None where it may hear all."""
        return None

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
        rows = [self.tokenizer.encode(t) for t in texts]
        if dropout:
            drawn = [
                self.tokenizer.sample(t, dropout, lambda: float(torch.rand(()))) for t in texts
            ]
            rows = [d if len(d) <= self.room else r for d, r in zip(drawn, rows, strict=True)]
        return self.teach(rows)

    def teach(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """``target_ids`` of texts that are token ids already, at most ``room`` each."""
        prompt, eot = self.tokenizer.prompt, self.tokenizer.eot
        width = len(prompt) + max(len(r) for r in rows)
        inputs = torch.full((len(rows), width), eot)
        targets = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            sequence = torch.tensor([*prompt, *row])
            inputs[i, : len(sequence)] = sequence
            targets[i, len(prompt) - 1 : len(sequence)] = torch.tensor([*row, eot])
        return inputs, targets

    def decoder_states(
        self, states: Tensor, inputs: Tensor, input_lens: Tensor | None = None
    ) -> Tensor:
        """Teacher-forced decoder.

        Args:
            states: (B, T', D) from the encoder.
            inputs: (B, U) token ids.
            input_lens: As in the features; None where no state is padding.

        Returns:
            (B, U, D).
        """
        is_pad = None if input_lens is None else self.is_pad(states, input_lens)
        heard = {} if is_pad is None else {"encoder_attention_mask": ~is_pad}
        out = self.decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False, **heard)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def forward(self, features: Features, inputs: Tensor) -> Tensor:
        """Logits (B, U, V) of a teacher-forced pass."""
        states = self.encoder(features)
        return self.output_layer(self.decoder_states(states, inputs, features.input_lens))  # type: ignore[no-any-return]


class WhisperModel(Seq2SeqModel):
    """Whisper as a recogniser of one language, also one it has no token for.

    ``hf`` is a ``WhisperForConditionalGeneration``; its encoder works at a short context.
    """

    tied = ("proj_out.weight",)
    encoder: WhisperSpeechEncoder
    tokenizer: WhisperTokens

    @property
    def trunk(self) -> Any:
        """Encoder and decoder, without the output layer."""
        return self.hf.model

    def text_features(
        self, sources: Sequence[str], language: str = "en", target: str | None = None
    ) -> Features:
        """Collate texts; Whisper does not read them: see its encoder's ``forward``."""
        rows = [torch.tensor(self.tokenizer.encode(s), dtype=torch.int64) for s in sources]
        lens = torch.tensor([len(row) for row in rows])
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.eot)
        return Features(ids, lens, torch.arange(ids.shape[1]) >= lens[:, None])

    def set_generation_config(self) -> None:
        """The same prompt, the same tokens allowed; see the function of this name."""
        set_generation_config(self.hf, self.tokenizer)

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
