"""Parts that live on a frozen base: bottleneck adapters, and the CTC head of a language.

A base takes any number of parts and switches between them without loading anything. A part on disk
holds only its own weights and the fingerprint of the base they were trained on.

Source: Houlsby et al. 2019 (arXiv 1902.00751), Bapna and Firat 2019 (arXiv 1909.08478).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xlasr.errors import BaseError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer

Where = Literal["encoder", "decoder", "both", "length"]
FORMAT = 1
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
}
MARK = ".bottlenecks."
"""In the name of every parameter of an adapter, and of no other."""
EMBEDDING = re.compile(r"embed_tokens|^shared\.|^lm_head\.")


@dataclass(frozen=True)
class BottleneckShape:
    """What bottleneck adapters look like.

    Args:
        width: Of the bottleneck.
        where: Behind which layers.
        activation: ``relu`` or ``gelu``.
    """

    width: int
    where: Where = "encoder"
    activation: str = "relu"


@dataclass
class Part:
    """One set of weights that a base can be switched to.

    Args:
        shapes: Of its adapters; none where it is a head alone.
        language: BCP-47 tag.
        prompt_language: Under whose token it writes, if not under its own; None for CTC.
        tokenizer: Alphabet of its head; None with a decoder.
        head: Its CTC head; None with a decoder.
    """

    shapes: tuple[BottleneckShape, ...]
    language: str
    prompt_language: str | None = None
    tokenizer: CharTokenizer | None = None
    head: nn.Linear | None = None


class Bottleneck(nn.Module):
    """Norm, down, non-linearity, up, residual: (..., D) -> (..., D); the identity at first.

    The norm has no scale and shift and the projections no bias: what they could do, ``down`` can.
    So the count is 2 * D * width, as papers count it (SeamlessM4T-medium, 12 layers of 1024: 6.29 M
    at width 256, 50.33 M at 2048).
    """

    def __init__(self, dim: int, shape: BottleneckShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.down = nn.Linear(dim, shape.width, bias=False)
        self.up = nn.Linear(shape.width, dim, bias=False)
        nn.init.zeros_(self.up.weight)
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[shape.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """Add what the bottleneck says to (..., D)."""
        update: Tensor = self.up(self.activation(self.down(self.norm(hidden))))
        return hidden + update


class BottleneckSlot(nn.Module):
    """What stands behind one layer: the adapters of all parts, of which one or none is active."""

    def __init__(self) -> None:
        super().__init__()
        self.bottlenecks = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the active adapter to (..., D)."""
        if self.active is None or self.active not in self.bottlenecks:
            return hidden
        out: Tensor = self.bottlenecks[self.active](hidden)
        return out


def _behind(layer: nn.Module, _: Any, output: Any) -> Any:
    """Forward hook of a layer; some give a tuple with the hidden states in front."""
    slot: Any = layer.slot
    return (slot(output[0]), *output[1:]) if isinstance(output, tuple) else slot(output)


def layers_of(model: CTCModel | Seq2SeqModel | Transducer, where: Where) -> list[nn.Module]:
    """Layers behind which adapters stand.

    Raises:
        UsageError: The model has no decoder, or no length adapter.
    """
    layers: list[nn.Module] = []
    if where in ("encoder", "both"):
        layers += model.encoder.layer_modules()
    if where in ("decoder", "both"):
        if not isinstance(model, Seq2SeqModel):
            raise UsageError(
                f"adapters behind the layers of the {where!r} need a decoder, and a model of "
                f"family {model.family!r} has none; say train.adapter.where: encoder"
            )
        layers += list(model.decoder.layers)
    if where == "length":
        if isinstance(model, CTCModel):
            raise UsageError("train.adapter.where: length is for SeamlessM4T; say encoder")
        layers += length_adapter(model).get_submodule("layers").children()
    return layers


def length_adapter(model: CTCModel | Seq2SeqModel | Transducer) -> nn.Module:
    """The layers that shorten the sequence behind the encoder.

    Raises:
        UsageError: The base has none.
    """
    found = model.encoder.length_adapter
    if found is None:
        raise UsageError(
            f"the base {model.info['base']['name']} ({model.info['base']['model_type']}) has no "
            "length adapter: SeamlessM4T has one, multimodal-tiny, and self-supervised bases with "
            "add_adapter"
        )
    return found


def add_bottlenecks(
    model: CTCModel | Seq2SeqModel | Transducer, shape: BottleneckShape, name: str | None = None
) -> None:
    """Put new adapters behind the layers and switch to their part; outputs do not change.

    Args:
        model: Changed in place; its head and alphabet become those of the part.
        shape: Of the adapters.
        name: Of the part, which may have adapters behind other layers; None takes the language.

    Raises:
        UsageError: There are adapters behind these layers, or the model has no such layers.
    """
    name = name or str(model.info["language"])
    layers = layers_of(model, shape.where)
    if any(name in slot.bottlenecks for slot in map(_slot, layers) if slot):
        raise UsageError(f"part {name!r} has adapters behind layers of the {shape.where} already")
    decoder = list(model.decoder.layers) if isinstance(model, Seq2SeqModel) else []
    for layer in layers:
        of_decoder = any(layer is one for one in decoder)
        network: Any = model.decoder if of_decoder else model.encoder.hf
        dim = int(network.config.hidden_size)
        slot = _slot(layer)
        if slot is None:
            layer.slot = slot = BottleneckSlot()
            layer.register_forward_hook(_behind)
        slot.bottlenecks[name] = Bottleneck(dim, shape).to(next(layer.parameters()).device)
    earlier = model.parts[name].shapes if name in model.parts else ()
    hold_part(model, name, (*earlier, shape))
    use_part(model, name)


def _slot(layer: nn.Module) -> BottleneckSlot | None:
    return getattr(layer, "slot", None)


def hold_part(
    model: CTCModel | Seq2SeqModel | Transducer, name: str, shapes: tuple[BottleneckShape, ...] = ()
) -> None:
    """Let the model's present head, alphabet and language be the part ``name``."""
    part = Part(shapes, str(model.info["language"]), model.info.get("prompt_language"))
    if isinstance(model, CTCModel):
        part.tokenizer, part.head = model.tokenizer, model.head
    model.parts[name] = part


def use_part(model: CTCModel | Seq2SeqModel | Transducer, name: str | None) -> None:
    """Switch to another part; nothing is loaded or copied.

    Args:
        model: Changed in place.
        name: Of a part that the model holds; None switches every adapter off (head and alphabet
            stay).

    Raises:
        UsageError: No such part.
    """
    if name is not None and name not in model.parts:
        raise UsageError(f"this model has no part {name!r}; it has {', '.join(model.parts)}")
    for module in model.modules():
        if isinstance(module, BottleneckSlot):
            module.active = name
    model.active_part = name
    if name is None:
        return
    part = model.parts[name]
    model.info["language"] = part.language
    if isinstance(model, Seq2SeqModel):
        model.set_language(part.language, part.prompt_language)
    elif part.head is not None and part.tokenizer is not None:
        model.head, model.tokenizer = part.head, part.tokenizer


def base_fingerprint(
    model: CTCModel | Seq2SeqModel | Transducer, state: Mapping[str, Tensor] | None = None
) -> str:
    """sha256 over the weights that parts leave alone: the encoder, and a decoder's layers.

    The embedding is not among them: it may be cut to a language without changing what a part does.

    Args:
        model: Whose weights.
        state: Weights of a CTC model that stand for its own: merged LoRA.
    """
    digest = hashlib.sha256()
    whole = model.trunk if isinstance(model, Seq2SeqModel) else model.encoder.hf
    weights = whole.state_dict()
    if state is not None and isinstance(model, CTCModel):
        place = "encoder.hf."
        weights = {n.removeprefix(place): v for n, v in state.items() if n.startswith(place)}
    for name, value in sorted(weights.items()):
        if MARK not in f".{name}" and not EMBEDDING.search(name):
            digest.update(name.removeprefix("encoder.").encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_part(
    model: CTCModel | Seq2SeqModel | Transducer,
    folder: Path,
    name: str | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write one part, and nothing of the base.

    Args:
        model: Holds it.
        folder: New or empty; gets ``part.json``, ``part.safetensors`` and, for CTC, the alphabet.
        name: Of the part; None takes the only one.
        state: As for ``base_fingerprint``.

    Raises:
        UsageError: No such part.
    """
    from safetensors.torch import save_file

    name = next(iter(model.parts)) if name is None and len(model.parts) == 1 else name
    if name is None or name not in model.parts:
        raise UsageError(f"which part? This model has {', '.join(model.parts) or 'none'}")
    part = model.parts[name]
    tensors = {}
    for key, value in model.state_dict().items():
        before, mark, after = key.partition(f"{MARK}{name}.")
        if mark:
            tensors[f"{before}.{after}"] = value.detach().cpu().contiguous()
    if part.head is not None:
        for key, value in part.head.state_dict().items():
            tensors[f"head.{key}"] = value.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    if part.tokenizer is not None:
        part.tokenizer.save(folder)
    save_file(tensors, str(folder / "part.safetensors"), metadata={"format": "pt"})
    meta = {
        "format": FORMAT,
        "family": model.family,
        "language": part.language,
        "prompt_language": part.prompt_language,
        "shapes": [asdict(shape) for shape in part.shapes],
        "base": model.info["base"] | {"weights_sha256": base_fingerprint(model, state)},
    }
    (folder / "part.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), "utf-8")


def load_part(
    model: CTCModel | Seq2SeqModel | Transducer,
    folder: Path,
    name: str | None = None,
    *,
    check: bool = True,
) -> str:
    """Put a saved part on a base and switch to it.

    Args:
        model: On the base that the part was trained on.
        folder: What ``save_part`` wrote.
        name: To give it; None takes its language.
        check: Compare the base's fingerprint; only for weights that were just read beside the part.

    Returns:
        Its name.

    Raises:
        BaseError: No part there, one of another family or base, or weights that do not fit.
        UsageError: The name is taken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        meta = json.loads((folder / "part.json").read_text(encoding="utf-8"))
        tensors = load_file(str(folder / "part.safetensors"))
        family, wanted = meta["family"], meta["base"]["weights_sha256"]
        shapes = [BottleneckShape(**shape) for shape in meta["shapes"]]
        language, prompt = str(meta["language"]), meta.get("prompt_language")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BaseError(f"{folder} holds no part of a model ({error})") from error
    if family != model.family:
        raise BaseError(f"{folder} is a part of family {family!r}; this model is {model.family!r}")
    if check and wanted != (found := base_fingerprint(model)):
        raise BaseError(
            f"{folder} was trained on another base: {meta['base']['name']}, weights "
            f"{wanted[:12]}...; this model has {found[:12]}... Load that base first"
        )
    name = name or language
    if name in model.parts:
        raise UsageError(f"this model has a part {name!r} already; give another name")
    active = model.active_part
    if isinstance(model, CTCModel):
        model.tokenizer = CharTokenizer.load(folder)
        model.head = nn.Linear(model.encoder.dim, len(model.tokenizer))
    model.info["language"] = language
    model.info.pop("prompt_language", None)
    model.info |= {} if prompt is None else {"prompt_language": prompt}
    hold_part(model, name)
    for shape in shapes:
        add_bottlenecks(model, shape, name)
    own = {}
    for key in model.state_dict():
        before, mark, after = key.partition(f"{MARK}{name}.")
        if mark:
            own[f"{before}.{after}"] = key
        elif key.startswith("head."):
            own[key] = key
    try:
        if own.keys() != tensors.keys():
            raise RuntimeError(f"weights differ: {sorted(own.keys() ^ tensors.keys())[:3]}")
        model.load_state_dict({own[k]: v for k, v in tensors.items()}, strict=False)
    except RuntimeError as error:
        drop_part(model, name)
        use_part(model, active)
        raise BaseError(f"{folder}: the weights do not fit this base ({error})") from error
    use_part(model, name)
    return name


def drop_part(model: CTCModel | Seq2SeqModel | Transducer, name: str) -> None:
    """Take a part off the base; a CTC model is left with its head until another is used."""
    del model.parts[name]
    for module in model.modules():
        if isinstance(module, BottleneckSlot) and name in module.bottlenecks:
            del module.bottlenecks[name]
