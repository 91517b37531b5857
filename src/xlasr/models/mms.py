"""MMS's own language adapters: a small layer in every attention block, and a CTC head.

Files have the layout of the published ones (``adapter.LANG.safetensors``), so that transformers'
``Wav2Vec2ForCTC.load_adapter`` opens ours and we open theirs.

Source: Pratap et al. 2023 (MMS, arXiv 2305.13516, section 5.3).
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from xlasr.errors import BaseError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer

LAYER = "adapter_layer"


def mms_parameters(model: CTCModel | Seq2SeqModel | Transducer) -> list[str]:
    """Names of the parameters of a base's own language adapters.

    Raises:
        UsageError: The base has none.
    """
    names = [n for n, _ in model.named_parameters() if f".{LAYER}." in n]
    if not names:
        raise UsageError(
            "train.adapter.kind mms needs a base with language adapters of its own (MMS: config "
            f"adapter_attn_dim); {model.info['base']['name']} has none. Use kind: bottleneck"
        )
    return names


def adapter_file(language: str) -> str:
    """Name of the file: MMS calls languages by ISO 639-3.

    Args:
        language: BCP-47 tag.
    """
    import langcodes

    return f"adapter.{langcodes.get(language).to_alpha3()}.safetensors"


def save_mms_adapter(model: CTCModel, folder: Path) -> Path:
    """Write adapters and head as MMS does, and its vocabulary beside them.

    Args:
        model: On a base with language adapters.
        folder: Gets the file and ``vocab.json``, which has one table for each language.

    Returns:
        The file.
    """
    from safetensors.torch import save_file

    own = {n: p for n, p in model.named_parameters() if f".{LAYER}." in n}
    tensors = {f"wav2vec2.{n.removeprefix('encoder.hf.')}": p for n, p in own.items()}
    tensors |= {f"lm_head.{n}": p for n, p in model.head.named_parameters()}
    path = folder / adapter_file(str(model.info["language"]))
    saved = {n: p.detach().cpu().contiguous() for n, p in tensors.items()}
    save_file(saved, str(path), metadata={"format": "pt"})
    vocabulary = {"<pad>": 0} | {
        "|" if s == " " else s: i + 1 for i, s in enumerate(model.tokenizer.symbols)
    }
    table = {path.name.split(".")[1]: vocabulary}
    (folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    return path


def load_mms_adapter(model: CTCModel, path: Path) -> None:
    """Put a published or saved language adapter on its base; the head becomes that language's.

    Args:
        model: On the base that it belongs to.
        path: ``adapter.LANG.safetensors``, with the ``vocab.json`` of all languages beside it.

    Raises:
        BaseError: The file or the vocabulary cannot be read, or does not fit the base.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    language = path.name.split(".")[1]
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
        table = json.loads((path.parent / "vocab.json").read_text(encoding="utf-8"))
        vocabulary: dict[str, int] = table.get(language, table)
        symbols = sorted(vocabulary, key=lambda s: int(vocabulary[s]))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BaseError(
            f"{path} is no language adapter with a vocab.json beside it: {error}"
        ) from error
    head = {k.removeprefix("lm_head."): v for k, v in tensors.items() if k.startswith("lm_head.")}
    own = {
        f"encoder.hf.{k.removeprefix('wav2vec2.')}": v
        for k, v in tensors.items()
        if not k.startswith("lm_head.")
    }
    wanted = {n: p.shape for n, p in model.named_parameters() if f".{LAYER}." in n}
    if {n: v.shape for n, v in own.items()} != wanted or len(head.get("bias", [])) != len(symbols):
        raise BaseError(
            f"{path} does not fit this base: {len(own)} adapter tensors and a head of "
            f"{len(head.get('bias', []))}, against {len(wanted)} and {len(symbols)} symbols"
        )
    specials = {s for s in symbols if len(s) > 1 and s.startswith("<")}
    kept = [i for i, s in enumerate(symbols) if s not in specials]
    model.tokenizer = CharTokenizer([" " if symbols[i] == "|" else symbols[i] for i in kept])
    model.head = nn.Linear(model.encoder.dim, len(model.tokenizer))
    rows = [0, *kept]  # MMS's blank is <pad>, number 0; <s>, </s> and <unk> are never said
    model.load_state_dict(own, strict=False)
    model.head.load_state_dict({k: v[rows] for k, v in head.items()})
    model.info["language"] = language
