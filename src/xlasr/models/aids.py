"""Modules that only an objective needs: they help to train the encoder, and decode nothing.

They belong to the model of a stage, by the name of their objective (``model.aids``): trained and
saved with it, so that resume is exact and a later stage, or a later run, can go on with them. A
stage without their objective drops them, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlasr.errors import BaseError
from xlasr.models.attention import AttentionModel
from xlasr.models.audiovisual import CommonDecoder, JointSpace, VideoEncoder
from xlasr.models.conformer import ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import SelfSupervisedEncoder
from xlasr.models.transducer import Transducer
from xlasr.registry import Registry

Aided = CTCModel | Transducer | AttentionModel
Builder = Callable[[Aided], nn.Module]
AIDS: Registry[Builder] = Registry("aid of an objective")


SHARED: dict[str, tuple[str, ...]] = {
    "masked_autoencoder": ("video", "masked_autoencoder"),
    "contrastive": ("video", "contrastive"),
}
"""Aids of the objectives that need more, or others, than one of their own name."""


class ContrastiveAid(nn.Module):
    """Quantiser and projections of wav2vec 2.0; names and shapes as in ``Wav2Vec2ForPreTraining``.

    Source: Baevski et al. 2020 (arXiv 2006.11477), sections 2 and 3.2.

    Args:
        config: ``Wav2Vec2Config``: codes, groups and widths.
    """

    def __init__(self, config: Any) -> None:
        from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

        super().__init__()
        self.dropout = nn.Dropout(config.feat_quantizer_dropout)
        self.quantizer = Wav2Vec2GumbelVectorQuantizer(config)
        self.project_hid = nn.Linear(config.hidden_size, config.proj_codevector_dim)
        self.project_q = nn.Linear(config.codevector_dim, config.proj_codevector_dim)
        with torch.no_grad():  # as transformers begins
            nn.init.normal_(self.quantizer.weight_proj.weight)
            nn.init.zeros_(self.quantizer.weight_proj.bias)
            nn.init.uniform_(self.quantizer.codevectors)


@AIDS.register("masked_contrastive")
def contrastive_aid(model: Aided) -> ContrastiveAid:
    """A new quantiser for the model's encoder.

    Raises:
        BaseError: The encoder is of another kind.
    """
    encoder = model.encoder
    kind = encoder.hf.config.model_type
    if kind != "wav2vec2" or not isinstance(encoder, SelfSupervisedEncoder):
        raise BaseError(
            f"masked_contrastive is for Wav2Vec2-class bases (Wav2Vec2, XLS-R, MMS); a {kind!r} "
            "model learnt by other means (HuBERT and WavLM: cluster numbers) and gives no latents"
        )
    if not encoder.can_mask:
        raise BaseError(
            "masked_contrastive needs a base with a mask embedding and without a length adapter; "
            "set mask_time_prob above 0, and add_adapter to false, in its config.json"
        )
    return ContrastiveAid(encoder.hf.config)


@AIDS.register("ctc")
def ctc_head(model: Aided) -> nn.Linear:
    """A CTC head beside a transducer or decoder, over its symbols (id 0 is its blank too)."""
    return nn.Linear(model.encoder.dim, len(model.tokenizer))


@AIDS.register("video")
def video_aid(model: Aided) -> VideoEncoder:
    """A new encoder of pictures, of the shape that the base's config says."""
    return VideoEncoder(_audiovisual(model).hf.config)


@AIDS.register("masked_autoencoder")
def decoder_aid(model: Aided) -> CommonDecoder:
    """A new decoder of sound and pictures."""
    return CommonDecoder(_audiovisual(model).hf.config)


@AIDS.register("contrastive")
def joint_aid(model: Aided) -> JointSpace:
    """New projections of sound and pictures to one space."""
    return JointSpace(_audiovisual(model).hf.config)


def _audiovisual(model: Aided) -> ConformerEncoder:
    encoder = model.encoder
    if not isinstance(encoder, ConformerEncoder):
        raise BaseError(
            "masked_autoencoder and contrastive learn from sound and pictures, for which a base "
            "needs a shape of both: audiovisual-small, audiovisual-base; a "
            f"{encoder.hf.config.model_type!r} model has none"
        )
    return encoder


def aids_wanted(model: Aided, kinds: Sequence[str]) -> list[str]:
    """Names of the aids that objectives need, each once; a CTC model's own head is none."""
    others = [kind for kind in kinds if not (kind == model.family == "ctc")]
    names = [name for kind in others for name in SHARED.get(kind, (kind,)) if name in AIDS]
    return list(dict.fromkeys(names))


def load_aid(kind: str, model: Aided, folder: Path | None) -> tuple[nn.Module, bool]:
    """The aid of an objective, with the base's weights where it has them.

    Args:
        kind: Name of the objective.
        model: Whom it helps.
        folder: The base, as transformers saved it for pretraining; None for a new aid.

    Returns:
        The aid, and whether its weights were the base's.

    Raises:
        BaseError: The encoder is of another kind, or the base has some of the weights only.
    """
    aid = AIDS[kind](model)
    held = {} if folder is None else _tensors(folder, set(aid.state_dict()))
    if not held:
        return aid, False
    try:
        aid.load_state_dict(held)
    except RuntimeError as error:
        raise BaseError(f"{folder}: the weights for {kind} do not fit: {error}") from error
    return aid, True


def set_aids(model: Aided, wanted: Sequence[str], folder: Path | None) -> list[str]:
    """Give a model the aids of these objectives; drop all others.

    Args:
        model: Changed in place. The aids it has stay as they are.
        wanted: Names of aids (``aids_wanted``).
        folder: The base, where its weights for pretraining are to be taken.

    Returns:
        What was done, to be shown.

    Raises:
        BaseError: As ``load_aid``.
    """
    said = []
    for kind in [kind for kind in model.aids if kind not in wanted]:
        del model.aids[kind]
        said.append(f"the weights that only {kind} needs are dropped")
    for kind in [kind for kind in wanted if kind not in model.aids]:
        model.aids[kind], known = load_aid(kind, model, folder)
        said.append(
            f"{kind} " + ("goes on with the base's own" if known else "begins with new weights")
        )
    return said


def _tensors(folder: Path, names: set[str]) -> dict[str, Tensor]:
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            found.update({n: file.get_tensor(n).float() for n in names & set(file.keys())})
    return found
