"""Adapters as a trainable part (the modules: ``models.parts``, ``models.mms``)."""

from __future__ import annotations

from xlasr.config import AdapterSettings
from xlasr.errors import UsageError
from xlasr.models.mms import mms_parameters
from xlasr.models.parts import MARK, BottleneckShape, add_bottlenecks, layers_of
from xlasr.models.run import SpeechModel


def trained_bottlenecks(model: SpeechModel, settings: AdapterSettings) -> set[str]:
    """Names of the adapters' parameters that ``settings`` mean; puts them there if they are new.

    A stage that begins from one with adapters behind the same layers trains those further; behind
    other layers new ones join them, and the earlier ones rest (text-only adaptation trains the
    decoder's, then speech the encoder's).

    Args:
        model: Changed in place.
        settings: The stage's ``train.adapter``.

    Raises:
        UsageError: The model has no such layers, or adapters of another shape stand there.
    """
    if settings.kind == "mms":
        return set(mms_parameters(model))
    shape = BottleneckShape(settings.width, settings.where, settings.activation)
    part = model.parts.get(model.active_part or "")
    if part is None or shape not in part.shapes:
        add_bottlenecks(model, shape, model.active_part)
    layers = {id(layer) for layer in layers_of(model, settings.where)}
    inside = {
        id(parameter)
        for layer in model.modules()
        if id(layer) in layers
        for parameter in layer.parameters()
    }
    mark = f"{MARK}{model.active_part}."
    names = {n for n, p in model.named_parameters() if mark in n and id(p) in inside}
    if not names:
        raise UsageError("train.part adapter matched no layer of this model")
    return names
