"""A model on disk: ``xlasr.json`` beside safetensors and configs. Opens without training code.

For Whisper and SeamlessM4T the folder is a plain transformers directory with ``xlasr.json`` added;
for CTC, transducers and decoders of our own it holds encoder and head in ``model.safetensors`` and
the base's own configs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.errors import BaseError, RunError
from xlasr.models.aids import AIDS, Aided
from xlasr.models.attention import AttentionModel, DecoderShape
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import (
    Context,
    SelfSupervisedEncoder,
    WhisperSpeechEncoder,
)
from xlasr.models.heads import register_heads, use_language
from xlasr.models.hub import (
    OURS,
    Base,
    base_files,
    empty_encoder,
    load_extractor,
    load_multimodal,
    load_seamless,
    load_self_supervised,
    load_whisper,
    whisper_encoder,
)
from xlasr.models.mms import LAYER, save_mms_adapter
from xlasr.models.multimodal import MULTIMODAL, MultimodalEncoder, MultimodalModel
from xlasr.models.parts import MARK, load_part, save_part
from xlasr.models.pieces import SymbolTokenizer, load_symbols
from xlasr.models.seamless import SEAMLESS, SeamlessModel, seamless_encoder
from xlasr.models.seamless_tokens import SeamlessTokens
from xlasr.models.seq2seq import Seq2SeqModel, WhisperModel
from xlasr.models.streaming import SpeechEncoder
from xlasr.models.tokenizer import CharTokenizer, WhisperTokens
from xlasr.models.transducer import Transducer, TransducerShape
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
SpeechModel = CTCModel | Seq2SeqModel | Transducer


def from_base(
    base: Base,
    family: str,
    *,
    context: Context | Chunks | None,
    language: str,
    prompt_language: str | None = None,
    alphabet: SymbolTokenizer | None = None,
    shape: TransducerShape | None = None,
    decoder: DecoderShape | None = None,
) -> SpeechModel:
    """Build a model of a family on a base; a finished run of that family keeps its vocabulary.

    Args:
        base: What ``find_base`` returned.
        family: ``ctc``, ``seq2seq`` or ``transducer``.
        context: Whisper's short context, or the chunks it is cut into (not for seq2seq); ignored by
            other encoders.
        language: BCP-47 tag of what it will recognise.
        prompt_language: Under whose token it is written, where the base has none for ``language``;
            None is ``language``. Only for families with a prompt.
        alphabet: Letters of the new CTC head, letters or pieces of the new transducer; not needed
            where the base has them. Those that a new decoder writes.
        shape: Sizes of the new transducer; None takes the defaults.
        decoder: Sizes of a new decoder, for seq2seq; None takes the base's own decoder.

    Raises:
        BaseError: The base has no such family, or no token for the language.
    """
    new_decoder = family == "seq2seq" and decoder is not None
    if new_decoder and not base.takes_decoder:
        raise BaseError(
            f"the base {base.name} is a {base.model_type} model, whose encoder was made for its "
            "own decoder: a new one could not understand it"
        )
    if family not in base.families and not new_decoder:
        raise BaseError(
            f"the base {base.name} is a {base.model_type} model and has no decoder for "
            f"{family!r}; families it serves: {', '.join(base.families)}"
        )
    info: dict[str, Any] = {
        "family": family,
        "base": {"name": base.name, "sha256": base.sha256, "model_type": base.model_type},
        "language": language,
        "text": "headline",
    }
    if prompt_language is not None and family == "seq2seq":
        info["prompt_language"] = prompt_language
    whole = None if isinstance(context, Chunks) else context
    if family == "seq2seq" and isinstance(context, Chunks):
        raise BaseError(
            "Whisper's decoder needs whole clips; context.chunk is for the families 'ctc' and "
            "'transducer'"
        )
    if base.adapted == family and not new_decoder:
        return _go_on(base, info, context)
    if base.adapted and (family != "seq2seq" or new_decoder):
        finished = load_model(base.folder)
        return on_encoder(finished, family, info, alphabet, shape, decoder, context=context)
    if family == "seq2seq" and not new_decoder:
        return _seq2seq(base.folder, info, whole)
    encoder: SpeechEncoder
    if base.model_type == "whisper":
        encoder = whisper_encoder(load_whisper(base.folder).model.encoder, context)
    elif base.model_type in OURS:
        if not base.is_random:
            raise BaseError(
                f"{base.folder} has weights of an {base.model_type!r} model and is no finished "
                "run: use the run as the base"
            )
        encoder = empty_encoder(base.folder, base.model_type)
    else:
        encoder = load_self_supervised(base.folder, weights=not base.is_random)
    return _new_head(encoder, family, info, alphabet, shape, decoder)


def _new_head(
    encoder: SpeechEncoder,
    family: str,
    info: dict[str, Any],
    alphabet: SymbolTokenizer | None,
    shape: TransducerShape | None,
    decoder: DecoderShape | None,
) -> SpeechModel:
    """Random weights of a family behind an encoder."""
    if alphabet is None:
        raise BaseError("a CTC head, a transducer or a new decoder needs an alphabet")
    if family == "seq2seq":
        return AttentionModel(encoder, alphabet, info, decoder or DecoderShape())
    if family == "transducer":
        return Transducer(encoder, alphabet, info, shape or TransducerShape())
    if not isinstance(alphabet, CharTokenizer):
        raise BaseError("a CTC head spells letters; pieces are for transducers and decoders")
    return CTCModel(encoder, alphabet, info)


def _seq2seq(folder: Path, info: dict[str, Any], context: Context | None) -> Seq2SeqModel:
    """Whisper, SeamlessM4T or the small multimodal model, from a transformers directory."""
    prompted = info.get("prompt_language") or info["language"]
    if info["base"]["model_type"] in SEAMLESS:
        hf = load_seamless(folder)
        encoder = seamless_encoder(hf, load_extractor(folder))
        pieces = SeamlessTokens.load(folder, hf.config.vocab_size, prompted)
        return SeamlessModel(hf, encoder, pieces, info)
    with_text = info["base"]["model_type"] == MULTIMODAL
    hf = load_multimodal(folder) if with_text else load_whisper(folder)
    multilingual = getattr(hf.generation_config, "is_multilingual", None)
    tokens = WhisperTokens.load(folder, hf.config.vocab_size, prompted, multilingual=multilingual)
    if with_text:
        return MultimodalModel(hf, MultimodalEncoder(hf, context), tokens, info)
    return WhisperModel(hf, WhisperSpeechEncoder(hf.model.encoder, context), tokens, info)


def _go_on(base: Base, info: dict[str, Any], context: Context | Chunks | None) -> SpeechModel:
    """A finished model as the beginning of another run."""
    model = load_model(base.folder)
    info["text"] = model.info["text"]
    if isinstance(model, Transducer):
        info["transducer"] = model.info["transducer"]
    if isinstance(model, AttentionModel):
        info["attention"] = model.info["attention"]
    model.info = info
    if isinstance(model, Seq2SeqModel):
        model.set_language(info["language"], info.get("prompt_language"))
        if isinstance(model.encoder, WhisperSpeechEncoder) and not isinstance(context, Chunks):
            model.encoder.context = context
    elif isinstance(model.encoder, WhisperSpeechEncoder | ChunkedWhisperEncoder):
        model.encoder = whisper_encoder(model.encoder.hf, context)
    return model


def on_encoder(
    finished: SpeechModel,
    family: str,
    info: dict[str, Any],
    alphabet: SymbolTokenizer | None,
    shape: TransducerShape | None = None,
    decoder: DecoderShape | None = None,
    *,
    context: Context | Chunks | None = None,
) -> SpeechModel:
    """Another head, transducer or decoder on the encoder of a finished model.

    Between CTC and transducers letters can be kept; over the same ones a transducer takes the CTC
    head along, as its aid.

    Args:
        finished: Its encoder is used, not copied.
        family: Of the new model.
        info: Of the new model.
        alphabet: What it writes; None keeps the letters of a CTC head or transducer.
        shape: Sizes of a new transducer.
        decoder: Sizes of a new decoder.
        context: Of Whisper's encoder; None leaves it as it is.

    Raises:
        BaseError: Nothing can be kept, or the encoder belongs to its decoder.
    """
    encoder, kind = finished.encoder, str(info["base"]["model_type"])
    if kind in (*SEAMLESS, MULTIMODAL):
        raise BaseError(f"the encoder of a {kind!r} model is of use to its own decoder only")
    if context and isinstance(encoder, WhisperSpeechEncoder | ChunkedWhisperEncoder):
        encoder = whisper_encoder(encoder.hf, context)
    if alphabet is None:
        known = None if isinstance(finished, Seq2SeqModel) or family == "seq2seq" else finished
        if known is None or not known.tokenizer.symbols or getattr(known, "heads", None):
            raise BaseError(
                f"{info['base']['name']} has no one alphabet that a model of the family "
                f"{family!r} could keep; say output.mode: replace"
            )
        alphabet = known.tokenizer
    model = _new_head(encoder, family, info, alphabet, shape, decoder)
    if isinstance(finished, CTCModel) and not finished.heads and isinstance(model, Transducer):
        same = alphabet.symbols == finished.tokenizer.symbols
        model.aids.update({"ctc": finished.head} if same else {})
    return model


def save_model(
    model: SpeechModel, folder: Path, base_folder: Path, state: dict[str, Tensor] | None = None
) -> None:
    """Write a model into an existing folder.

    Args:
        model: Its LoRA, if any, is written alone, in PEFT's layout (``adapter/``); so is its active
            part (``part/``), if it has one. Adapters stand only there. Where languages have heads
            of their own, each is a part (``parts/LANGUAGE/``), and the active one is opened first.
        folder: Empty folder.
        base_folder: Where the base's configs come from.
        state: Weights to write instead of the model's own: merged LoRA (needed where there is
            one), an average.

    Raises:
        ValueError: The model has LoRA and no merged weights were given.
    """
    from safetensors.torch import save_file

    for path in base_files(base_folder):
        shutil.copyfile(path, folder / path.name)
    settings = folder / "tokenizer_config.json"
    if settings.exists():  # ids of special tokens are in tokenizer.json, where a cut changes them
        content = json.loads(settings.read_text(encoding="utf-8"))
        content.pop("added_tokens_decoder", None)
        settings.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    if model.adapter is not None:
        # the embedding is the base's own (or rows of it), so the adapter opens on the whole base
        model.adapter.save_pretrained(folder / "adapter", save_embedding_layers=False)
    if state is None:
        if model.adapter is not None:
            raise ValueError("a model with LoRA is saved with state=merged_state(model)")
        state = dict(model.state_dict())
    if isinstance(model, CTCModel) and model.heads:
        for name in model.parts:
            save_part(model, folder / "parts" / name, name, state)
    elif model.active_part is not None:
        save_part(model, folder / "part", model.active_part)
    if isinstance(model, CTCModel) and any(f".{LAYER}." in name for name in state):
        save_mms_adapter(model, folder)
    state = {k: v for k, v in state.items() if MARK not in k and not k.startswith("heads.")}
    if isinstance(model, Seq2SeqModel) and model.as_transformers:
        state = {k.removeprefix("hf."): v for k, v in state.items()}
        state = {k: v for k, v in state.items() if k not in model.tied}
        model.set_generation_config()
        model.hf.config.save_pretrained(folder)
        model.hf.generation_config.save_pretrained(folder)
    model.tokenizer.save(folder)
    tensors = {k: v.detach().contiguous().clone() for k, v in state.items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    context = model.encoder.context
    meta = {
        "format": FORMAT,
        **model.info,
        "context": None if context is None else asdict(context),
    }
    if isinstance(model, Aided) and model.aids:
        meta["aids"] = list(model.aids)
    has_extractor = (folder / "preprocessor_config.json").exists()
    if isinstance(model.encoder, SelfSupervisedEncoder) and not has_extractor:  # random weights
        model.encoder.extractor.save_pretrained(folder)
    if isinstance(model.encoder, ChunkedWhisperEncoder):
        meta["chunks"] = asdict(model.encoder.chunks)
    (folder / "xlasr.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), "utf-8")


def load_model(folder: Path) -> SpeechModel:
    """Open what ``save_model`` wrote, in evaluation mode.

    Raises:
        RunError: No model there, a newer format, or weights that do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "xlasr.json"
    if not path.exists():
        raise RunError(f"{folder} holds no finished model (no xlasr.json)")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        newer = meta.pop("format") != FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({error}); make the run's last stage again") from error
    if newer:
        raise RunError(f"{folder} was written by a newer xlasr; upgrade to open it")
    context = Context(**meta.pop("context")) if meta.get("context") else meta.pop("context", None)
    model: SpeechModel
    if meta["family"] == "seq2seq" and "attention" not in meta:
        model = _seq2seq(folder, meta, context)
    else:
        chunks = meta.pop("chunks", None)
        cut = context if chunks is None else Chunks(**chunks)
        encoder = empty_encoder(folder, meta["base"]["model_type"], cut)
        aids = meta.pop("aids", [])
        if meta["family"] == "transducer":
            model = Transducer(encoder, load_symbols(folder), meta)
        elif meta["family"] == "seq2seq":
            model = AttentionModel(encoder, load_symbols(folder), meta)
        else:
            model = CTCModel(encoder, CharTokenizer.load(folder), meta)
        if isinstance(model, Aided):
            model.aids.update({kind: AIDS[kind](model) for kind in aids})
        try:
            state = load_file(str(folder / "model.safetensors"))
            missing, unexpected = model.load_state_dict(state, strict=False)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunError(f"{folder}: the weights cannot be loaded: {error}") from error
        if missing or unexpected:
            raise RunError(
                f"{folder}: the weights do not fit the model; missing {missing[:3]}, "
                f"unexpected {unexpected[:3]}"
            )
    if (folder / "part" / "part.json").exists():
        load_part(model, folder / "part", check=False)
    if isinstance(model, CTCModel) and (folder / "parts").is_dir():
        language = str(meta["language"])
        for path in sorted((folder / "parts").iterdir()):
            load_part(model, path, path.name, check=False)
        register_heads(model)
        use_language(model, language)
    return model.eval()  # type: ignore[no-any-return, unused-ignore]
