"""Low-rank adaptation through peft, saved in peft's own layout.

Source: Hu et al. 2021 (LoRA, arXiv 2106.09685).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from xlasr.config import LoraSettings
from xlasr.errors import UsageError
from xlasr.models.run import SpeechModel
from xlasr.models.seamless import TEXT_ENCODER
from xlasr.models.seq2seq import Seq2SeqModel


def add_lora(model: SpeechModel, settings: LoraSettings) -> None:
    """Inject LoRA into the linear layers whose name is, or ends with, one of the targets.

    The output is unchanged until the first update (B starts at zero).

    Raises:
        UsageError: No linear layer has such a name or number, or LoRA would have no effect there.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    target: Any = model.hf if isinstance(model, Seq2SeqModel) else model.encoder.hf
    linear = [
        n
        for n, m in target.named_modules()
        if isinstance(m, torch.nn.Linear) and not n.startswith(TEXT_ENCODER)
    ]
    deaf = [n for n in linear if _is_deaf(n, target.config.model_type)]
    missing = [t for t in settings.targets if not _matches(t, linear)]
    useless = [t for t in settings.targets if _matches(t, deaf)]
    if missing or useless:
        known = sorted({n.rsplit(".", 1)[-1] for n in linear if n not in deaf})
        raise UsageError(
            (f"LoRA targets {missing} match no linear layer; " if missing else "")
            + (f"LoRA would have no effect on {useless}; " if useless else "")
            + f"this model has {', '.join(known)}"
        )
    meant = [n for n in linear if any(_matches(t, [n]) for t in settings.targets)]
    numbers = {int(m[1]) for n in meant if (m := re.search(r"(?:^|\.)layers\.(\d+)\.", n))}
    if beyond := sorted(set(settings.layers or []) - numbers):  # peft passes over them in silence
        raise UsageError(
            f"train.lora.layers names {beyond}; the targets stand in the layers "
            f"{', '.join(map(str, sorted(numbers))) or '(none)'} of this model"
        )
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        exclude_modules=rf"{TEXT_ENCODER}.*" if hasattr(target, "text_encoder") else None,
        bias="none",
        layers_to_transform=settings.layers,
        layers_pattern="layers" if settings.layers is not None else None,
        use_dora=settings.dora,
        use_rslora=settings.rslora,
    )
    # get_peft_model changes the modules in place and keeps a handle that can save the adapter;
    # it is stored past nn.Module's bookkeeping so that no parameter is listed twice
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a deprecated name
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        object.__setattr__(model, "adapter", get_peft_model(target, config))


def outnumbering(model: SpeechModel) -> list[str]:
    """Layers whose low-rank update has at least as many weights as the matrix it adapts.

    From r = in * out / (in + out) on (half the width, in a square matrix), training the matrix
    itself costs less and can do more.
    """
    from peft.tuners.lora import LoraLayer

    found = []
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            own = sum(p.numel() for n, p in module.named_parameters() if "lora_" in n)
            if own >= module.get_base_layer().weight.numel():
                found.append(name)
    return found


def _matches(target: str, names: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in names)


def _is_deaf(name: str, model_type: str) -> bool:
    """Whether a layer's own forward is never called, or its weights are another layer's too."""
    if model_type == "wavlm":  # hands the matrices of its attention to one fused function
        return name.rsplit(".", 1)[-1] in ("q_proj", "k_proj", "v_proj", "out_proj")
    return name in ("proj_out", "lm_head")  # the embedding


def merged_state(model: SpeechModel) -> dict[str, Tensor]:
    """Weights with every low-rank update added to the matrix it adapts, under the base's names."""
    import torch
    from peft.tuners.lora import LoraLayer

    merged: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            before = weight.detach().clone()
            module.merge()  # in place, and not undone to the last bit
            merged[f"{name}.weight"] = weight.detach().clone()
            module.merged_adapters.clear()
            with torch.no_grad():
                weight.copy_(before)
    state = {}
    for name, value in model.state_dict().items():
        if "lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        state[plain] = merged.get(plain, value)
    return state
