"""Load a base: a built-in name, a directory, or a hub id."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlasr.data import cache_dir
from xlasr.errors import BaseError, HubUnreachable, UnknownName
from xlasr.files import sha256, write_text
from xlasr.models.audiovisual_config import AUDIOVISUAL, AudioVisualConfig
from xlasr.models.bin_weights import bin_files, convert, converted_folder
from xlasr.models.catalogue import BUILT_IN
from xlasr.models.conformer import Conformer, ConformerEncoder
from xlasr.models.emformer import Emformer
from xlasr.models.emformer_config import EMFORMERS, EmformerConfig
from xlasr.models.encoders import Context, SelfSupervisedEncoder, WhisperSpeechEncoder
from xlasr.models.multimodal import MULTIMODAL, built_in, multimodal_class
from xlasr.models.seamless import SEAMLESS, seamless_class
from xlasr.models.streaming import EmformerEncoder, SpeechEncoder
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks

NEVER_USED = ("masked_spec_embed", "proj_out.weight")  # xlasr masks by itself; tied
ONLY_CONFIGS = ("config.json", "preprocessor_config.json")
SELF_SUPERVISED = ("wav2vec2", "hubert", "wavlm", "wav2vec2-bert")


@dataclass
class Base:
    """A pretrained model as found on disk.

    Args:
        name: As the user typed it.
        folder: transformers directory.
        sha256: Of the weights, so that heads and adapters can name their base.
        model_type: ``config.model_type``.
        adapted: Family of the finished run that it is; None for a bare base.
        is_random: There are no weights, only ``config.json``; a run draws them from its seed.
    """

    name: str
    folder: Path
    sha256: str
    model_type: str
    adapted: str | None = None
    is_random: bool = False

    @property
    def families(self) -> tuple[str, ...]:
        """Families this base can serve with what it has."""
        if self.adapted in ("ctc", "transducer"):
            return ("ctc", "transducer")  # no decoder would understand its encoder any more
        if not self.takes_decoder:
            return ("seq2seq",)
        has_decoder = self.model_type == "whisper" or self.adapted == "seq2seq"
        return ("ctc", "seq2seq", "transducer") if has_decoder else ("ctc", "transducer")

    @property
    def takes_decoder(self) -> bool:
        """Whether a new attention decoder can hear its encoder (``output.mode: replace``)."""
        return self.model_type not in (*SEAMLESS, MULTIMODAL)


def weights_sha256(folder: Path) -> str:
    """Sha256 over every safetensors file of a directory and of its parts, in name order."""
    parts = folder.glob("part*/**/*.safetensors")
    return sha256(*sorted(folder.glob("*.safetensors")), *sorted(parts))


RANDOM = "random weights from "
"""Begins the name of a base without weights, so that no table takes it for a pretrained one."""
OURS = ("emformer", "audiovisual")
"""Networks of our own: they begin with random weights, and then are finished runs."""
SHAPES = {**EMFORMERS, **AUDIOVISUAL}
RANDOM_TYPES = ("wav2vec2", "hubert", "wavlm", *OURS)


def find_base(name: str, *, convert_bin: bool = False) -> Base:
    """Find a base and, for a built-in or a hub id, fetch it.

    Args:
        name: A built-in name (``whisper-tiny.en``), a transformers directory, a finished run to
            go on from, or a hub id (``facebook/wav2vec2-xls-r-300m``). A directory with nothing but
            ``config.json`` (and ``preprocessor_config.json``) is a base of random weights, and so
            are the built-in shapes of our own networks (``emformer-small``, ...).
        convert_bin: Where there are only pickled weights (``pytorch_model.bin``), convert them
            once, into the cache; see ``models/bin_weights.py``. What was converted before is found
            without it.

    Raises:
        BaseError: The directory is no model of a known kind, or has no safetensors.
        HubUnreachable: A hub id, and no network.
        UnknownName: Neither a built-in nor a directory nor an ``owner/name``.
    """
    is_random = name.removeprefix(RANDOM) in SHAPES
    if is_random:
        folder = _config_alone(name.removeprefix(RANDOM))
    elif name in BUILT_IN:
        from xlasr.models.whisper_ct2 import fetch_tiny_en

        folder = fetch_tiny_en(cache_dir())
        if name == "multimodal-tiny":
            folder = built_in(folder, folder.parent / name)
    elif Path(name.removeprefix(RANDOM)).is_dir():
        folder = _model_of_run(Path(name.removeprefix(RANDOM)))
        is_random = {"config.json"} <= {p.name for p in folder.iterdir()} <= {*ONLY_CONFIGS}
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        folder = _download(name, convert_bin)
    else:
        raise UnknownName("base (not a directory either)", name, BUILT_IN)
    if not (folder / "config.json").exists():
        raise BaseError(
            f"{folder} has no config.json: not a transformers model. "
            f"Built in: {', '.join(BUILT_IN)}; or give a directory made by save_pretrained"
        )
    if not is_random and not list(folder.glob("*.safetensors")):
        folder = _converted(name, folder, convert_bin)
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise BaseError(f"{folder}/config.json names no model_type; is it damaged?") from error
    known = ("whisper", *SELF_SUPERVISED, *SEAMLESS, MULTIMODAL, *OURS)
    if model_type not in known:
        raise BaseError(f"{name} is a {model_type!r} model; xlasr adapts {', '.join(known)}")
    if is_random:
        if model_type not in RANDOM_TYPES:
            raise BaseError(
                f"{folder} has a config.json and no weights. Training from random weights is for "
                f"{', '.join(RANDOM_TYPES)}; a {model_type!r} model needs its weights"
            )
        folder = folder.absolute()
        shown = name.removeprefix(RANDOM) if folder.parent == _configs() else folder
        return Base(f"{RANDOM}{shown}", folder, _configs_sha256(folder), model_type, None, True)
    return Base(name, folder, weights_sha256(folder), model_type, _adapted_family(folder))


def _configs() -> Path:
    return (cache_dir() / "configs").absolute()


def _config_alone(name: str) -> Path:
    """A directory with nothing but the ``config.json`` of a named shape."""
    folder = _configs() / name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", SHAPES[name].dumps())
    return folder


def _configs_sha256(folder: Path) -> str:
    return sha256(*(folder / n for n in ONLY_CONFIGS if (folder / n).exists()))


def _converted(name: str, folder: Path, convert_bin: bool) -> Path:
    """The folder with its pickled weights as safetensors."""
    if not bin_files(folder):
        raise BaseError(
            f"{folder} has no weights: neither .safetensors nor pytorch_model.bin. For a hub id "
            "that has only the latter add --convert-bin (find_base(..., convert_bin=True)). To "
            f"train from random weights, leave nothing in it but {' and '.join(ONLY_CONFIGS)}"
        )
    if convert_bin:
        return convert(folder, cache_dir())
    before = converted_folder(folder, cache_dir())
    if before.exists():
        return before
    raise BaseError(
        f"{name} has no .safetensors, only {bin_files(folder)[0].name}, which is a pickle: a file "
        "that may run code when it is opened. Where you trust its source, `xlasr adapt --base "
        f"{name} --convert-bin` (find_base(..., convert_bin=True)) converts it once, in a process "
        "of its own that takes tensors only"
    )


def _model_of_run(folder: Path) -> Path:
    """The finished model of a run folder; any other folder is taken as it is."""
    if not (folder / "run.json").exists():
        return folder
    if not (folder / "model" / "xlasr.json").exists():
        raise BaseError(
            f"the run {folder} is not finished; go on with `xlasr adapt --resume {folder}`, then "
            "use it as a base"
        )
    return (folder / "model").resolve()


def _adapted_family(folder: Path) -> str | None:
    path = folder / "xlasr.json"
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["family"])
    except (ValueError, KeyError, TypeError) as error:
        raise BaseError(f"{path} names no family; is it damaged?") from error


def _download(name: str, convert_bin: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        found = Path(snapshot_download(name, allow_patterns=patterns))
        if convert_bin and not list(found.glob("*.safetensors")):
            found = Path(snapshot_download(name, allow_patterns=[*patterns, "pytorch_model*.bin"]))
        return found
    except HFValidationError:
        raise UnknownName("base (neither a directory nor a hub id)", name, BUILT_IN) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise HubUnreachable(
            f"the hub did not give {name!r} ({type(error).__name__}), no copy of it is in the "
            "local cache, and no directory is called so. Here without a network: "
            f"{', '.join(BUILT_IN)}, or any directory made by save_pretrained on a machine that "
            "has one (copy it and pass its path)"
        ) from error


def whisper_encoder(
    hf_encoder: Any, context: Context | Chunks | None
) -> WhisperSpeechEncoder | ChunkedWhisperEncoder:
    """Wrap a transformers Whisper encoder: over whole clips, or chunk by chunk."""
    if isinstance(context, Chunks):
        return ChunkedWhisperEncoder(hf_encoder, context)
    return WhisperSpeechEncoder(hf_encoder, context)


def empty_encoder(
    folder: Path, model_type: str, context: Context | Chunks | None = None
) -> SpeechEncoder:
    """The architecture that a folder's configs describe; its weights come from elsewhere.

    Raises:
        BaseError: The configs cannot be used.
    """
    if model_type == "whisper":
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return whisper_encoder(WhisperEncoder(WhisperConfig.from_pretrained(folder)), context)
    if model_type == "emformer":
        return EmformerEncoder(Emformer(EmformerConfig.read(folder / "config.json")))
    if model_type == "audiovisual":
        return ConformerEncoder(Conformer(AudioVisualConfig.read(folder / "config.json")))
    return load_self_supervised(folder, weights=False)


def load_whisper(folder: Path) -> Any:
    """Load ``WhisperForConditionalGeneration`` in float32.

    Raises:
        BaseError: Weights are damaged, missing or left over.
    """
    from transformers import WhisperForConditionalGeneration

    return _pretrained(WhisperForConditionalGeneration, folder)


def load_multimodal(folder: Path) -> Any:
    """Load a Whisper with length adapter and text encoder in float32.

    Raises:
        BaseError: Weights are damaged, missing or left over.
    """
    return _pretrained(multimodal_class(), folder)


def load_self_supervised(folder: Path, weights: bool = True) -> SelfSupervisedEncoder:
    """Load a wav2vec 2.0 kind of encoder in float32.

    Args:
        folder: transformers directory.
        weights: False builds the architecture only (its weights come from a checkpoint, or are
            drawn: a base of random weights).

    Raises:
        BaseError: Weights are damaged or missing, or there is no feature extractor.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder)
    config.apply_spec_augment = False  # masking is xlasr's, so that it can be reproduced
    config.layerdrop = 0.0  # a dropped layer would make frozen caching and exact resume lie
    bare = not weights and not list(folder.glob("*.safetensors"))
    if bare and not (folder / "preprocessor_config.json").exists():
        extractor = _usual_extractor(config)
    else:
        extractor = load_extractor(folder)
    if weights:
        model = _pretrained(AutoModel, folder, config=config)
    else:
        model = AutoModel.from_config(config, dtype=torch.float32)
    return SelfSupervisedEncoder(model, extractor)


def _usual_extractor(config: Any) -> Any:
    """What random weights are given: mean 0 and variance 1, padding masked where that is right."""
    from transformers import Wav2Vec2FeatureExtractor

    masked = getattr(config, "feat_extract_norm", "layer") == "layer"
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)


def load_extractor(folder: Path) -> Any:
    """Open the feature extractor of a base.

    Raises:
        BaseError: There is none.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise BaseError(
            f"{folder} has no usable preprocessor_config.json; save it there with "
            "AutoFeatureExtractor.from_pretrained(ID).save_pretrained(directory)"
        ) from error


def load_seamless(folder: Path) -> Any:
    """Load SeamlessM4T's speech-to-text part in float32, and its text encoder if it is there.

    Raises:
        BaseError: Weights are damaged or missing.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    # a dropped layer would make frozen caching and exact resume lie
    config.speech_encoder_layerdrop = config.encoder_layerdrop = config.decoder_layerdrop = 0.0
    names: set[str] = set()
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(str(path), "pt") as opened:
                names.update(opened.keys())
    except (OSError, SafetensorError) as error:
        raise BaseError(f"the weights in {folder} cannot be loaded: {error}") from error
    with_text = any(name.startswith("text_encoder.") for name in names)
    kind = seamless_class(config.model_type, with_text=with_text)
    return _pretrained(kind, folder, config=config)


def _pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """Load in float32, without transformers' own output, and refuse weights made up at random."""
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, found = kind.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise BaseError(f"the weights in {folder} cannot be loaded: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
    missing = sorted(k for k in found["missing_keys"] if not k.endswith(NEVER_USED))
    if missing:
        raise BaseError(
            f"{folder} lacks {len(missing)} weights of a {model.config.model_type!r} model, for "
            f"example {', '.join(missing[:3])}; is the download complete, and is it a base rather "
            "than a head, an adapter or a run with a CTC head?"
        )
    return model


def base_files(folder: Path) -> Sequence[Path]:
    """Config files that a saved model needs beside its weights and its tokenizer.

    ``vocab.json``, ``merges.txt`` and ``added_tokens.json`` are left behind: ``tokenizer.json`` is
    complete, and after a cut of the vocabulary their ids would be others.
    """
    wanted = (
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "normalizer.json",
    )
    return [folder / name for name in wanted if (folder / name).exists()]
