"""What a decoder attends to while it learns from text alone: the mean encoder state of real speech.

With ``train.text_input: mean`` a text without speech is encoded as one state, the mean over ten
minutes of the command's corpus (``none``: a state of zeros). It is measured once, by the weights
with which the stage begins, and kept in the stage's folder: a resumed run reads the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from xlasr.data.corpus import Corpus
from xlasr.files import sync
from xlasr.models.encoders import WhisperSpeechEncoder
from xlasr.models.run import SpeechModel
from xlasr.training.sets import TextSet, TrainingSet, drop_unusable, open_set

MINUTES = 10.0
"""Of speech behind the mean: the first ones as ``minutes`` takes them, so that a stage that has ten
minutes knows the mean of no others. A mean of 30,000 states is known to 0.6 % of their spread."""
FILE = "mean_state.safetensors"


def mean_state(model: SpeechModel, data: TrainingSet) -> Tensor:
    """Mean encoder state over the speech of a set: (D,) float32.

    Every clip is encoded alone, at the context it needs, without dropout.

    Args:
        model: Left as it was.
        data: Usable clips.
    """
    was_training = model.training
    device = next(model.parameters()).device
    total, count = torch.zeros(model.encoder.dim, dtype=torch.float64), 0
    model.eval()
    with torch.no_grad():
        for at in range(len(data.rows)):
            features = model.features([data.samples(at)])
            speech = int(model.out_lens(features.input_lens)[0])
            states = model.encoder(features.to(device))[0, :speech]
            total += states.double().sum(0).cpu()
            count += speech
    model.train(was_training)
    return (total / count).float()


def set_text_input(
    model: SpeechModel, sets: Sequence[TrainingSet], kind: str, main: Corpus, folder: Path
) -> None:
    """Give Whisper's encoder what it answers where a stage's text has no speech.

    Args:
        model: Changed in place, if it is Whisper; others encode text or learn nothing from it.
        sets: Of the stage; nothing happens without text among them.
        kind: ``train.text_input``.
        main: The command's corpus, of which ``train`` is heard.
        folder: Of the stage; the mean is kept there.
    """
    encoder = model.encoder
    texts = any(isinstance(data, TextSet) for data in sets)
    if not texts or kind != "mean" or type(encoder) is not WhisperSpeechEncoder:
        return
    path = folder / FILE
    found = _read(path)
    if found is None:
        speech = open_set(main.split("train"), model.info["text"], MINUTES)
        found = mean_state(model, drop_unusable(speech, model))
        _write(path, found)
    encoder.text_state = found


def _read(path: Path) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))["state"]
    except (OSError, SafetensorError, KeyError):
        return None  # not there yet, or damaged: measured again, to the same bits


def _write(path: Path, state: Tensor) -> None:
    from safetensors.torch import save_file

    temporary = path.with_name(f".tmp-{path.name}")
    save_file({"state": state}, str(temporary))
    sync(temporary)
    os.replace(temporary, path)
