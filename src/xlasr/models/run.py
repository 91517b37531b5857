"""A model on disk: ``xlasr.json`` beside safetensors and configs. Opens without training code.

For Whisper and SeamlessM4T the folder is a plain transformers directory with ``xlasr.json`` added;
for CTC and transducers it holds encoder and head in ``model.safetensors`` and the base's own
configs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.errors import BaseError, RunError
from xlasr.models.aids import AIDS
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
            where the base has them.
        shape: Sizes of the new transducer; None takes the defaults.

    Raises:
        BaseError: The base has no such family, or no token for the language.
    """
    if family not in base.families:
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
            "Whisper's decoder needs whole clips; context.chunk is for the family 'ctc'"
        )
    if base.adapted == family:
        return _go_on(base, info, context)
    if base.adapted and family != "seq2seq":
        return _other_head(base, family, info, context, alphabet, shape)
    if family == "seq2seq":
        return _seq2seq(base.folder, info, whole)
    if alphabet is None:
        raise BaseError("a CTC head or a transducer needs an alphabet")
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
    if family == "transducer":
        return Transducer(encoder, alphabet, info, shape or TransducerShape())
    if not isinstance(alphabet, CharTokenizer):
        raise BaseError("a CTC head spells letters; pieces are for the family 'transducer'")
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
    model.info = info
    if isinstance(model, Seq2SeqModel):
        model.set_language(info["language"], info.get("prompt_language"))
    if isinstance(model, CTCModel):
        if isinstance(model.encoder, WhisperSpeechEncoder | ChunkedWhisperEncoder):
            model.encoder = whisper_encoder(model.encoder.hf, context)
    elif isinstance(model.encoder, WhisperSpeechEncoder) and not isinstance(context, Chunks):
        model.encoder.context = context
    return model


def _other_head(
    base: Base,
    family: str,
    info: dict[str, Any],
    context: Context | Chunks | None,
    alphabet: SymbolTokenizer | None,
    shape: TransducerShape | None,
) -> SpeechModel:
    """A transducer on the encoder of a finished CTC run, or the other way round.

    Over the same letters a transducer takes the CTC head along, as its aid.
    """
    finished = load_model(base.folder)
    encoder = finished.encoder
    if isinstance(encoder, WhisperSpeechEncoder | ChunkedWhisperEncoder):
        encoder = whisper_encoder(encoder.hf, context)
    if isinstance(finished, CTCModel) and family == "transducer":
        if finished.heads or not (alphabet or finished.tokenizer.symbols):
            raise BaseError(f"{base.name} has no one alphabet that a transducer could begin with")
        model = Transducer(
            encoder, alphabet or finished.tokenizer, info, shape or TransducerShape()
        )
        if len(model.tokenizer) == len(finished.tokenizer) and (
            model.tokenizer.symbols == finished.tokenizer.symbols
        ):
            model.aids["ctc"] = finished.head
        return model
    if not isinstance(alphabet, CharTokenizer):
        raise BaseError("a CTC head spells letters; pieces are for the family 'transducer'")
    return CTCModel(encoder, alphabet, info)


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
    if isinstance(model, Seq2SeqModel):
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
    if isinstance(model, CTCModel | Transducer) and model.aids:
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
    if meta["family"] == "seq2seq":
        model = _seq2seq(folder, meta, context)
    else:
        chunks = meta.pop("chunks", None)
        cut = context if chunks is None else Chunks(**chunks)
        encoder = empty_encoder(folder, meta["base"]["model_type"], cut)
        aids = meta.pop("aids", [])
        if meta["family"] == "transducer":
            model = Transducer(encoder, load_symbols(folder), meta)
        else:
            model = CTCModel(encoder, CharTokenizer.load(folder), meta)
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
