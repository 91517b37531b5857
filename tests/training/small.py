"""Small random models of the real transformers classes, and speech made of tones.

Every letter is a tone of its own, so that a model can learn to spell and a test can tell learning
from standing still. Loaded by the conftest and by ``driver.py``, which runs without pytest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xlasr.config import Recipe, parse_recipe
from xlasr.data.audio import write_wav
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.writing import write_corpus

LETTERS = "abcdef "
LETTER_S = 0.12
TRAIN = ["abc", "fed", "bad", "cab face", "dead", "ace", "bee", "fad", "deaf", "cafe", "abba", "ed"]
DEV = ["dab", "fee", "beef", "cad"]


def whisper_tokenizer() -> dict[str, Any]:
    """A byte-level BPE with a few merges and the special tokens Whisper's prompt needs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("a", "b"), ("c", "a"), ("e", "d"), ("Ġ", "b"), ("f", "e")]
    pieces += [a + b for a, b in merges]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"])
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    return spec


def write_whisper(folder: Path, *, dropout: float = 0.1, layers: int = 2, seed: int = 0) -> Path:
    """A Whisper of 3 s with width 16."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    spec = whisper_tokenizer()
    eot = len(spec["model"]["vocab"])
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=eot + 3,
        num_mel_bins=80,
        d_model=16,
        encoder_layers=layers,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=150,
        max_target_positions=32,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        pad_token_id=eot,
        bos_token_id=eot,
        eos_token_id=eot,
        decoder_start_token_id=eot + 1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder


def write_wav2vec2(folder: Path, *, group_norm: bool = False, dropout: float = 0.1) -> Path:
    """A wav2vec 2.0 of width 16, layer norm (batches may be padded) or group norm (may not)."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="group" if group_norm else "layer",
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        feat_proj_dropout=dropout,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def write_emformer(folder: Path) -> Path:
    """A base of random weights: the config of an Emformer of width 16."""
    from xlasr.models.emformer_config import EmformerConfig

    config = EmformerConfig(
        n_layers=2, n_heads=2, ffn_dim=32, input_dim=4, output_dim=16, memory_segments=1
    )
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.dumps(), encoding="utf-8")
    return folder


def write_w2v_bert(folder: Path) -> Path:
    """A w2v-BERT of width 16: log-mel frames in pairs, padding told by a mask."""
    import torch
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_depthwise_kernel_size=3,
    )
    Wav2Vec2BertModel(config).save_pretrained(folder)
    SeamlessM4TFeatureExtractor(num_mel_bins=80, padding_value=1.0).save_pretrained(folder)
    return folder


def tones(text: str, *, letter_s: float = LETTER_S, seed: int = 0) -> np.ndarray:
    """float32 samples at 16 kHz: one tone a letter, silence for a space, a little noise."""
    n = int(letter_s * 16_000)
    time = np.arange(n) / 16_000
    fade = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / 160)
    parts = [
        0.3 * fade * np.sin(2 * np.pi * (300 + 350 * LETTERS.index(c)) * time) * (c != " ")
        for c in text
    ]
    noise = 0.001 * np.random.default_rng(seed).standard_normal(n * len(text))
    return (np.concatenate(parts) + noise).astype(np.float32)


def utterance(
    folder: Path, name: str, text: str, samples: np.ndarray | None = None, language: str = "cs"
) -> Utterance:
    """Write ``name.wav`` and describe it; the tones of ``text`` where no samples are given."""
    if samples is None:
        spoken = "".join(c if c in LETTERS else " " for c in text)
        samples = tones(spoken, seed=sum(map(ord, name)))
    path = folder / f"{name}.wav"
    write_wav(path, samples)
    return Utterance(name, path, 0.0, len(samples) / 16_000, text, language, None, group=name)


def write_speech(
    folder: Path,
    train: Sequence[str | Utterance] = TRAIN,
    dev: Sequence[str | Utterance] = DEV,
    test: Sequence[str | Utterance] = (),
    language: str = "cs",
) -> Corpus:
    """A corpus of tones; texts or ready utterances."""
    audio = folder.parent / f"{folder.name}-audio"
    audio.mkdir(parents=True, exist_ok=True)
    splits = {
        name: [
            t
            if isinstance(t, Utterance)
            else utterance(audio, f"{folder.name}-{name}-{i}", t, language=language)
            for i, t in enumerate(texts)
        ]
        for name, texts in (("train", train), ("dev", dev), ("test", test))
    }
    return write_corpus(folder, splits, Card(language=language, source="tones"))


AUGMENT = {
    "speed": [0.9, 1.0, 1.1],
    "noise": {"probability": 0.5, "snr_db": [5, 25]},
    "spec": {"time_width": 10, "freq_width": 10},
}


def stage(family: str, **changes: Any) -> dict[str, Any]:
    """A stage of twelve updates with an evaluation after every third."""
    objective = {"seq2seq": "cross_entropy"}.get(family, family)
    found: dict[str, Any] = {
        "name": "adapt",
        "objectives": [{"kind": objective}],
        "batch_s": 6.0,
        "optim": {"lr": 1e-3, "warmup": 2, "precision": "float32"},
        "stop": {"updates": 12},
        "evaluate": {"every": 3, "seconds": 60},
    }
    for key, value in changes.items():
        merged = isinstance(value, dict) and key in ("optim", "evaluate")
        found[key] = {**found[key], **value} if merged else value
    return found


def recipe(family: str, *stages: dict[str, Any], **changes: Any) -> Recipe:
    """A recipe of stages (one plain stage where none is given)."""
    tree = {
        "name": "small",
        "family": family,
        "context": {"slack": 8, "multiple": 8, "full_share": 0.2},
        "stages": list(stages) or [stage(family)],
        **changes,
    }
    return parse_recipe(tree, "small")
