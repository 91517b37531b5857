"""Which parameters a stage trains: the whole model, the head, the top layers, LoRA or adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from xlasr.adaptation.bottleneck import trained_bottlenecks
from xlasr.adaptation.layers import chosen_layers
from xlasr.adaptation.lora import add_lora
from xlasr.config import TrainSettings
from xlasr.errors import UsageError
from xlasr.models.multimodal import MultimodalModel
from xlasr.models.parts import MARK, length_adapter, use_part
from xlasr.models.run import SpeechModel
from xlasr.models.seamless import TEXT_ENCODER
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.transducer import Transducer

DROPOUTS = (
    *("dropout", "hidden_dropout", "output_dropout", "final_dropout"),
    *("attn_dropout", "self_attn_dropout", "ffn_dropout"),  # behind a sublayer of SeamlessM4T
)


@dataclass
class ParameterGroup:
    """Parameters that share a learning rate.

    Args:
        names: Of the parameters, in model order.
        is_head: New or task-specific part: CTC head, decoder.
        depth: Encoder layers above this one; 0 for the top layer and for heads.
    """

    names: list[str]
    is_head: bool
    depth: int


@dataclass
class Trainable:
    """What a stage trains.

    Args:
        groups: All trained parameters, each once.
        frozen_layers: Encoder layers, counted from the bottom, that nothing below or inside of is
            trained; ``n_layers`` means the whole encoder is frozen, -1 that its stem is trained.
    """

    groups: list[ParameterGroup]
    frozen_layers: int

    @property
    def names(self) -> list[str]:
        """Names of all trained parameters."""
        return [name for group in self.groups for name in group.names]


def make_trainable(
    model: SpeechModel,
    settings: TrainSettings,
    parts: Sequence[str] = (),
    *,
    has_text: bool = True,
) -> Trainable:
    """Set ``requires_grad`` on exactly the parameters that ``settings`` name.

    Args:
        model: Changed in place; ``lora`` adds its matrices.
        settings: The stage's ``train`` field.
        parts: Languages that are trained, each with its own head (and adapters); the others that
            the model holds rest. The first one is active in the end.
        has_text: Transcripts are learnt; else a CTC head has nothing to do.

    Raises:
        UsageError: Nothing matched, more layers than there are, no convolutions to freeze, or parts
            that rest would be left with an encoder that they were not trained on.
    """
    n_layers = model.encoder.n_layers
    if settings.part == "layers" and not 1 <= settings.top_layers <= n_layers:
        raise UsageError(
            f"train.top_layers is {settings.top_layers}; this encoder has {n_layers} layers, so "
            f"give 1 to {n_layers}"
        )
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.recompute:
        recompute_activations(model)
    if settings.part == "lora":
        add_lora(model, settings.lora)
    adapters: set[str] = set()
    turns: Sequence[str | None] = parts or [None]  # None: as it is
    for part in reversed(turns):
        if part is not None:
            use_part(model, part)
        if settings.part == "adapter":
            adapters |= trained_bottlenecks(model, settings.adapter)
    if settings.part == "length_adapter":
        inside = {id(p) for p in length_adapter(model).parameters()}
        adapters = {n for n, p in model.named_parameters() if id(p) in inside and MARK not in n}
    rest = set(model.parts) - set(parts) if parts else set()
    first_trained = {
        "full": -1,
        "head": n_layers,
        "layers": n_layers - settings.top_layers,
        "lora": 0,
        "adapter": 0,
        "length_adapter": 0,
    }[settings.part]
    layer_of = _layer_numbers(model)
    positions = getattr(model.encoder.hf, "embed_positions", None)
    fixed = None if positions is None else positions.weight
    resting = chosen_layers(model, settings.freeze, "train.freeze")
    if settings.freeze.feature_encoder:
        resting.append(_feature_encoder(model))
    unused: tuple[str, ...] = (
        () if getattr(model.encoder, "masks", False) else ("masked_spec_embed",)
    )
    if not has_text:
        unused = (*unused, "head.weight", "head.bias")
    waiting = isinstance(model, Transducer) and model.by_ctc
    frozen = {id(p) for layer in resting for p in layer.parameters()}
    own_head = not isinstance(model, Seq2SeqModel)
    groups: dict[tuple[bool, int], ParameterGroup] = {}
    for name, parameter in model.named_parameters():
        layer = layer_of(name)  # None: head; -1: stem; n_layers: closing norm
        left = name.endswith(unused)
        left = left or (waiting and name.startswith(("predictor.", "joiner.", "simple.")))
        if name.startswith(f"hf.{TEXT_ENCODER}"):
            left = not (settings.part == "full" and isinstance(model, MultimodalModel))
        if parameter is fixed or left:  # sinusoids; nothing uses it; only understands
            trained = False
        elif name.startswith("aids."):  # begins at random, whatever it stands beside
            trained = True
        elif settings.part == "lora":
            trained = "lora_" in name or (own_head and layer is None)
        elif settings.part in ("adapter", "length_adapter"):
            trained = name in adapters or (own_head and layer is None)
        else:
            trained = layer is None or layer >= first_trained
            if settings.part == "head" and layer is not None:
                trained = False
        trained = trained and id(parameter) not in frozen
        owner = _owner(name)
        if rest and owner:
            trained = trained and owner not in rest
        elif rest and trained:
            raise UsageError(
                f"train.part {settings.part!r} would change {name}, and {', '.join(sorted(rest))} "
                "were trained on the weights it has now: they would stop working. Train head or "
                "adapter, or put their corpora into this stage's data too"
            )
        parameter.requires_grad_(trained)
        if trained:
            depth = 0 if layer is None else max(0, n_layers - 1 - layer)
            key = (layer is None, depth)
            groups.setdefault(key, ParameterGroup([], key[0], depth)).names.append(name)
    if not groups:
        raise UsageError(f"train.part {settings.part!r} matched no parameter of this model")
    layers = [layer_of(n) for g in groups.values() for n in g.names]
    lowest = min((layer for layer in layers if layer is not None), default=n_layers)
    return Trainable(list(groups.values()), lowest)


def _feature_encoder(model: SpeechModel) -> nn.Module:
    """The convolutions of a self-supervised base, told that no gradient is wanted below them."""
    convolutions: Any = getattr(model.encoder.hf, "feature_extractor", None)
    if convolutions is None:
        raise UsageError(
            "train.freeze.feature_encoder is for bases whose convolutions hear the waveform "
            f"(Wav2Vec2, XLS-R, MMS, HuBERT, WavLM); a {model.encoder.hf.config.model_type!r} "
            "model begins with log-mel frames"
        )
    convolutions._requires_grad = False  # transformers asks for the gradient of its input otherwise
    return convolutions  # type: ignore[no-any-return]


def _owner(name: str) -> str | None:
    """The part whose adapter or head a parameter belongs to."""
    for mark in (MARK, "heads."):
        before, found, after = name.partition(mark)
        if found and (mark == MARK or not before):
            return after.split(".")[0]
    return None


def recompute_activations(model: SpeechModel) -> None:
    """Keep no activations inside of a transformer layer; its backward pass computes them again.

    Less memory for about a third more time (gradient checkpointing, arXiv 1604.06174).
    """
    base = model.hf if isinstance(model, Seq2SeqModel) else model.encoder.hf
    base.activation_checkpointing_enable({"use_reentrant": False})


def set_dropout(model: SpeechModel, rate: float) -> None:
    """Set the dropout of every layer of the base's transformer.

    Args:
        model: Changed in place. Attention weights and activations inside of a feed-forward layer
            keep what they have.
        rate: Probability.
    """
    base: nn.Module = model.hf if isinstance(model, Seq2SeqModel) else model.encoder.hf
    for module in base.modules():
        if hasattr(module, "k_proj") or hasattr(module, "linear_k"):
            continue  # in an attention the name means its weights
        for name in DROPOUTS:
            held = getattr(module, name, None)
            if isinstance(held, nn.Dropout):
                held.p = rate
            elif isinstance(held, float):
                setattr(module, name, rate)


def _layer_numbers(model: SpeechModel) -> Callable[[str], int | None]:
    """Return a function from a parameter's name to its encoder layer; None is the head.

    What the encoder does behind its last layer has the number ``n_layers`` if it can be cut there,
    and else that of the last layer.
    """
    encoder = model.encoder
    n_layers = encoder.n_layers
    prefix = "encoder.hf."
    if isinstance(model, Seq2SeqModel):
        prefix = next(f"{n}." for n, m in model.named_modules() if m is encoder.hf)
    layers = "" if hasattr(encoder.hf, "layers") else "encoder."
    # wav2vec 2.0 kinds without "stable" norms have this norm before the first layer
    norm_closes = getattr(model.encoder.hf.config, "do_stable_layer_norm", True)

    def number(name: str) -> int | None:
        if not name.startswith(prefix):
            return None
        inner = name.removeprefix(prefix)
        if inner.startswith(f"{layers}layers."):
            return int(inner.removeprefix(f"{layers}layers.").split(".")[0])
        if inner.startswith(encoder.tail):
            return n_layers
        closing = (f"{layers}layer_norm.",) if norm_closes else ()
        behind = inner.startswith(("adapter.", "intermediate_ffn.", "projection.", *closing))
        return n_layers - 1 if behind else -1

    return number


def count_trainable(model: nn.Module) -> int:
    """Trained parameters, shared ones counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
