"""Tiny random models of every kind, made with the real transformers classes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.float32]

# Words on which the tiny byte-level BPE is trained: a language of its own.
WORDS = "ahoj rybo kde jsi potápěč řekni žižka loď plave tady voda moře kapitán jed jde jen jenom"
KINDS = ("wav2vec2", "wav2vec2-post", "hubert", "wavlm", "w2v-bert")
GROUP_NORM = ("wav2vec2-group", "hubert-group")


def clip(seconds: float, seed: int = 0) -> Clip:
    """Noise with a melody: no two frames alike."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    voice = np.sin(2 * np.pi * (200 + 90 * seed + 60 * np.sin(5 * t)) * t)
    samples = 0.3 * voice + 0.1 * rng.standard_normal(len(t))
    return samples.astype(np.float32)


@functools.cache
def tokenizer_json(multilingual: bool = False) -> str:
    """A complete Whisper ``tokenizer.json``, trained on ``WORDS``."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    specials = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>"]
    specials += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    specials += ["<|notimestamps|>"]
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # every word three times, so that whole words become pieces
    bpe.train_from_iterator([" " + w for w in WORDS.split() for _ in range(3)], trainer)
    spec = json.loads(bpe.to_str())
    pieces = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    spec["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    end = len(pieces)
    # as in OpenAI's English files, the end token is also listed among the pieces
    spec["model"]["vocab"]["<|endoftext|>"] = end
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    spec["added_tokens"] = [
        {"id": end + i, "content": token, **flags, "special": True}
        for i, token in enumerate(specials)
    ]
    ids = {token: end + i for i, token in enumerate(specials)}
    prompt = ["<|startoftranscript|>", "<|notimestamps|>"]
    if multilingual:
        prompt[1:1] = ["<|en|>", "<|transcribe|>"]
    bpe = tokenizers.Tokenizer.from_str(json.dumps(spec))
    bpe.post_processor = processors.TemplateProcessing(
        single=" ".join(prompt) + " $A <|endoftext|>",
        pair=" ".join(prompt) + " $A $B:1 <|endoftext|>:1",
        special_tokens=[(token, ids[token]) for token in [*prompt, "<|endoftext|>"]],
    )
    return bpe.to_str()


def whisper_dir(
    folder: Path,
    *,
    multilingual: bool = False,
    timestamps: int = 0,
    max_positions: int = 1500,
    seed: int = 0,
) -> Path:
    """A Whisper directory: random weights, its own tokenizer, complete configs."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    from xlasr.models.whisper_ct2 import english_config

    spec = json.loads(tokenizer_json(multilingual))
    ids = {token["content"]: token["id"] for token in spec["added_tokens"]}
    end = ids["<|endoftext|>"]
    n_vocab = ids["<|notimestamps|>"] + 1 + timestamps
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=n_vocab,
        d_model=32,
        num_mel_bins=80,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=40,
        max_source_positions=max_positions,
        max_target_positions=40,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=end + 1,
        dropout=0.0,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name and parameter.ndim > 1:
                parameter.normal_(std=0.25)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    sizes = config.to_dict() | {"vocab_size": n_vocab}
    ct2 = {"suppress_ids": [1, 2, ids["<|translate|>"]], "suppress_ids_begin": [220, end]}
    files = english_config(sizes, ct2 | {"alignment_heads": [[1, 0]]}, spec["added_tokens"])
    generation = files["generation_config.json"] | {"max_length": 40}
    if multilingual:
        generation |= {
            "is_multilingual": True,
            "lang_to_id": {t: ids[t] for t in ("<|en|>", "<|de|>")},
            "task_to_id": {t: ids[f"<|{t}|>"] for t in ("transcribe", "translate")},
        }
    GenerationConfig(**generation).save_pretrained(folder)
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps(files[name]), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_json(multilingual), encoding="utf-8")
    return folder


def emformer_dir(folder: Path, **changes: Any) -> Path:
    """A base of random weights: nothing but the config of a tiny Emformer."""
    from xlasr.models.emformer_config import EmformerConfig

    shape = {"n_layers": 3, "n_heads": 2, "ffn_dim": 48, "input_dim": 8, "output_dim": 32}
    config = EmformerConfig(**shape | {"left_positions": 6, "memory_segments": 2} | changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.dumps(), encoding="utf-8")
    return folder


def audiovisual_dir(folder: Path, **changes: Any) -> Path:
    """A base of random weights: nothing but the config of a tiny audio-visual model."""
    from xlasr.models.audiovisual_config import AudioVisualConfig

    shape: dict[str, Any] = {"n_layers": 3, "hidden_size": 32, "n_heads": 2, "ffn_dim": 48}
    shape |= {f"{part}_layers": 1 for part in ("video", "decoder")}
    shape |= {f"{part}_dim": 16 for part in ("video", "decoder")}
    shape |= {f"{part}_heads": 2 for part in ("video", "decoder")}
    config = AudioVisualConfig(**shape | {"kernel": 5, "frame_size": 32, "seconds": 2.0} | changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.dumps(), encoding="utf-8")
    return folder


def speech_config(kind: str, **changes: Any) -> Any:
    """Config of a tiny self-supervised encoder: one of ``KINDS`` or ``GROUP_NORM``."""
    import transformers

    common: dict[str, Any] = {
        "vocab_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "layerdrop": 0.1,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
    }
    if kind == "w2v-bert":
        common |= {"conv_depthwise_kernel_size": 5, "left_max_position_embeddings": 8}
        common |= {"right_max_position_embeddings": 4, "output_hidden_size": 32}
        return transformers.Wav2Vec2BertConfig(**common | changes)
    group = kind.endswith("-group")
    common |= {
        "conv_dim": (16,) * 7,
        "feat_extract_norm": "group" if group else "layer",
        "conv_bias": not group,
        "do_stable_layer_norm": not group and not kind.endswith("-post"),
    }
    name = {"wav2vec2": "Wav2Vec2Config", "hubert": "HubertConfig", "wavlm": "WavLMConfig"}
    return getattr(transformers, name[kind.split("-")[0]])(**common | changes)


def speech_dir(folder: Path, kind: str, *, seed: int = 0, **changes: Any) -> Path:
    """A directory of a tiny self-supervised encoder and its feature extractor."""
    import torch
    from transformers import AutoModel, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

    torch.manual_seed(seed)
    config = speech_config(kind, **changes)
    model = AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "pos_conv" not in name and "conv_layers" not in name:
                parameter.normal_(std=0.2)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    if kind == "w2v-bert":
        SeamlessM4TFeatureExtractor(feature_size=80, stride=2).save_pretrained(folder)
    else:
        masked = not kind.endswith("-group")
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked).save_pretrained(
            folder
        )
    return folder


SEAMLESS = ("seamless", "seamless-v2")
SEAMLESS_LANGUAGES = ("eng", "ces", "nld", "hin", "cmn", "cmn_Hant")


@functools.cache
def sentencepiece_model() -> bytes:
    """A SentencePiece BPE trained on ``WORDS``, with SeamlessM4T's special pieces."""
    import io

    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS, "hello fish where are you", *WORDS.split()] * 3),
        model_writer=written,
        model_type="bpe",
        vocab_size=80,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


def seamless_tokenizer_files(folder: Path) -> int:
    """The files that the published checkpoints have; returns how many tokens there are."""
    import sentencepiece

    model = sentencepiece_model()
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    first = len(sentencepiece.SentencePieceProcessor(model_proto=model)) + 1
    tokens = [f"__{code}__" for code in SEAMLESS_LANGUAGES]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    settings = {
        "tokenizer_class": "SeamlessM4TTokenizer",
        "src_lang": "eng",
        "tgt_lang": "ces",
        "additional_special_tokens": tokens,
        "added_tokens_decoder": {
            str(first + i): {"content": token, **flags, "special": True}
            for i, token in enumerate(tokens)
        },
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return first + len(tokens)


def seamless_config(kind: str, **changes: Any) -> Any:
    """Config of a tiny SeamlessM4T: one of ``SEAMLESS``."""
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "speech_encoder_layers": 3,
        "speech_encoder_attention_heads": 2,
        "speech_encoder_intermediate_size": 48,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 40,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 40,
        "conv_depthwise_kernel_size": 5,
        "max_position_embeddings": 40,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "adaptor_dropout": 0.0,
        "t2u_encoder_layers": 1,
        "t2u_decoder_layers": 1,
        "t2u_encoder_ffn_dim": 8,
        "t2u_decoder_ffn_dim": 8,
        "t2u_encoder_attention_heads": 2,
        "t2u_decoder_attention_heads": 2,
        "t2u_vocab_size": 20,
        "unit_hifi_gan_vocab_size": 8,
        "unit_embed_dim": 4,
        "lang_embed_dim": 4,
        "spkr_embed_dim": 4,
        "upsample_initial_channel": 32,
    }
    if kind == "seamless-v2":
        sizes |= {"left_max_position_embeddings": 8, "right_max_position_embeddings": 4}
        sizes |= {"char_vocab_size": 20, "t2u_variance_predictor_embed_dim": 32}
        sizes |= {"t2u_variance_predictor_hidden_dim": 8}
        return transformers.SeamlessM4Tv2Config(**sizes | changes)
    return transformers.SeamlessM4TConfig(**sizes | changes)


def seamless_dir(
    folder: Path,
    kind: str = "seamless",
    *,
    parts: str = "Model",
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A SeamlessM4T directory as published: random weights, SentencePiece, complete configs.

    ``parts`` ends the name of the class that is saved: ``Model`` (all of it, vocoder too),
    ``ForSpeechToText``, ``ForTextToText``.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    n_vocab = seamless_tokenizer_files(folder) + 2  # rows that no token has, as in the original
    torch.manual_seed(seed)
    config = seamless_config(kind, vocab_size=n_vocab, **changes)
    name = "SeamlessM4Tv2" if kind == "seamless-v2" else "SeamlessM4T"
    model = getattr(transformers, name + parts)(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.startswith(("t2u_model", "vocoder")):
                continue
            if parameter.ndim > 1:
                # the published embedding has this size too: it is multiplied by the width's root
                parameter.normal_(std=0.18 if key.startswith("shared") else 0.25)
            elif key.endswith("bias"):
                parameter.normal_(std=0.1)
        for key, value in model.named_buffers():
            if key.endswith("running_mean"):
                value.normal_(std=0.3)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    model.save_pretrained(folder)
    transformers.GenerationConfig(
        decoder_start_token_id=3,
        eos_token_id=3,
        bos_token_id=2,
        pad_token_id=0,
        max_new_tokens=256,
        text_decoder_lang_to_code_id={
            code: n_vocab - 2 - len(SEAMLESS_LANGUAGES) + i
            for i, code in enumerate(SEAMLESS_LANGUAGES)
        },
    ).save_pretrained(folder)
    transformers.SeamlessM4TFeatureExtractor(feature_size=80, stride=2).save_pretrained(folder)
    return folder


def multimodal_dir(folder: Path, *, seed: int = 0, **options: Any) -> Path:
    """A directory of the small multimodal model: random weights in the new parts too."""
    import torch
    from safetensors.torch import load_file, save_file

    from xlasr.models.multimodal import build_multimodal

    whisper = whisper_dir(folder.parent / f"{folder.name}-whisper", max_positions=100, seed=seed)
    build_multimodal(whisper, folder, **options)
    state = load_file(folder / "model.safetensors")
    torch.manual_seed(seed)
    for name, value in state.items():
        if ".adapter." in name or name.startswith("text_encoder."):
            value += torch.randn_like(value) * (0.2 if value.ndim > 1 else 0.1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
