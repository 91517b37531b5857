"""Single layers: which are begun anew, which are left alone.

What a layer of the base is worth to a new language is found out by carrying it over, freezing it or
throwing it away (layer-wise transfer).
"""

from __future__ import annotations

from torch import nn

from xlasr.config import LayerNumbers
from xlasr.errors import UsageError
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel


def chosen_layers(model: SpeechModel, numbers: LayerNumbers, field: str) -> list[nn.Module]:
    """Transformer layers by number, from 0 at the bottom.

    Args:
        model: Of any family.
        numbers: Of the encoder's and the decoder's layers.
        field: Name of the setting, for errors.

    Raises:
        UsageError: There is no such layer.
    """
    decoder = list(model.decoder.layers) if isinstance(model, Seq2SeqModel) else []
    found = []
    for side, wanted, layers in (
        ("encoder", numbers.encoder, list(model.encoder.layer_modules())),
        ("decoder", numbers.decoder, decoder),
    ):
        beyond = [n for n in wanted if n >= len(layers)]
        if beyond:
            has = f"layers 0 to {len(layers) - 1}" if layers else "no layers"
            raise UsageError(f"{field}.{side} names {beyond}; the {side} of this model has {has}")
        found += [layers[n] for n in wanted]
    return found


def reset_layers(model: SpeechModel, numbers: LayerNumbers) -> int:
    """Draw the weights of layers anew, as the base's own class initialises them.

    Args:
        model: Changed in place.
        numbers: Which layers; PyTorch's generator decides the weights.

    Returns:
        How many weights were drawn.

    Raises:
        UsageError: There is no such layer.
    """
    base = model.hf if isinstance(model, Seq2SeqModel) else model.encoder.hf
    layers = chosen_layers(model, numbers, "reset")
    for layer in layers:
        for module in layer.modules():
            for held in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                # transformers leaves alone what it marked as loaded
                held._is_hf_initialized = False  # type: ignore[attr-defined]
            base._init_weights(module)
    return sum(p.numel() for layer in layers for p in layer.parameters())
