"""The layers of any encoder: what stands before the first, and behind each.

One function for all encoders: ``layer_modules`` names the layers, and hooks listen to them while
the ordinary pass runs. So adapters that hang behind a layer are in its states, and the last state
is that of the ordinary pass.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xlasr.models.encoders import Features
from xlasr.models.streaming import SpeechEncoder


def layer_states(encoder: SpeechEncoder, features: Features) -> list[Tensor]:
    """Encode, and return what every layer said: L + 1 tensors (B, T', D), bottom first.

    The first is what the layers are given, the last what the encoder gives (behind its closing
    norm), as in transformers' ``hidden_states``. Where a layer's states are no sequence of the
    encoder's own length and width (a length adapter behind it, an Emformer's copies and
    projection), only the last is returned.

    Args:
        encoder: In evaluation mode.
        features: One clip, or clips that the encoder runs at once.
    """
    found: list[Tensor] = []

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.append(given[0] if given else named["hidden_states"])

    def behind(_: nn.Module, __: tuple[Any, ...], out: Any) -> None:
        found.append(out[0] if isinstance(out, tuple) else out)

    layers = encoder.layer_modules()
    hooks = [layers[0].register_forward_pre_hook(before, with_kwargs=True)]
    hooks += [layer.register_forward_hook(behind) for layer in layers]
    try:
        last: Tensor = encoder(features)
    finally:
        for hook in hooks:
            hook.remove()
    fits = len(found) == len(layers) + 1 and all(state.shape == last.shape for state in found)
    return [*found[:-1], last] if fits else [last]
