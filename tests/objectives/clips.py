"""A tiny audio-visual model, clips of noise and settings for the objectives on clips."""

from __future__ import annotations

import torch
from tests.models.test_audiovisual import SMALL

from xlasr.config import ObjectiveSettings
from xlasr.models.aids import aids_wanted, set_aids
from xlasr.models.conformer import Conformer, ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.models.tokenizer import CharTokenizer

BOTH = ["masked_autoencoder", "contrastive"]


def model_of(seed: int = 0, kinds: list[str] | None = None) -> CTCModel:
    torch.manual_seed(seed)
    encoder = ConformerEncoder(Conformer(SMALL))
    encoder.hf.frame_count.fill_(1)
    model = CTCModel(encoder, CharTokenizer([]), {})
    set_aids(model, aids_wanted(model, BOTH if kinds is None else kinds), None)
    return model.eval()


def batch(lens: list[int], n_pictures: list[int], seed: int = 0) -> Features:
    """Frames of so many samples, and so many pictures, of noise."""
    torch.manual_seed(seed)
    frames = [-(-n // 160) for n in lens]
    values = torch.nn.utils.rnn.pad_sequence([torch.randn(n, 80) for n in frames], True)
    is_pad = torch.arange(values.shape[1]) >= torch.tensor(frames)[:, None]
    pictures = [torch.randint(0, 256, (n, 8, 8, 3), dtype=torch.uint8) for n in n_pictures]
    video = torch.nn.utils.rnn.pad_sequence(pictures, True)
    return Features(
        values, torch.tensor(lens), is_pad, video=video, video_lens=torch.tensor(n_pictures)
    )


def settings(kind: str, **changes: object) -> ObjectiveSettings:
    field = "autoencoder" if kind == "masked_autoencoder" else "pairs"
    return ObjectiveSettings.model_validate({"kind": kind, field: changes})
