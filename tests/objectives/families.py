"""A model of each family, small enough for every path and every difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer, TransducerShape

LETTERS = CharTokenizer(["a", "b", " "])


class Spoken(CTCModel):
    """A CTC model whose states are its logits, in any precision; lengths are counted in frames."""

    def __init__(self, tokenizer: CharTokenizer = LETTERS) -> None:
        nn.Module.__init__(self)
        self.tokenizer = tokenizer
        self.dropout = nn.Dropout(0.5)
        self.seen: list[bool] = []  # the mode at each call
        self.info = {"text": "headline"}

    def log_probs(self, states: Tensor) -> Tensor:
        self.seen.append(self.training)
        return states.log_softmax(-1)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        return input_lens


def logits(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).mul(2)


def transducer(folder: Path, *, modified: bool = False) -> Transducer:
    torch.manual_seed(0)
    model = from_base(
        find_base(str(tiny.whisper_dir(folder, max_positions=100))),
        "transducer",
        context=Context(8, 8),
        language="cs",
        alphabet=LETTERS,
        shape=TransducerShape(1, 8, 8, modified),
    )
    assert isinstance(model, Transducer)
    return model.double().eval()


def seq2seq(folder: Path) -> Any:
    model = from_base(
        find_base(str(tiny.whisper_dir(folder, max_positions=100))),
        "seq2seq",
        context=Context(8, 8),
        language="cs",
    )
    return model.double().eval()


def models(folder: Path) -> dict[str, Callable[[], tuple[Any, Tensor, Tensor]]]:
    """A model of each family, states and lengths of two clips."""
    samples = torch.tensor([4 * 320, 3 * 320])
    return {
        "ctc": lambda: (Spoken(), logits(2, 4, 4), torch.tensor([4, 3])),
        "transducer": lambda: (transducer(folder), logits(2, 4, 32), samples),
        "modified": lambda: (transducer(folder, modified=True), logits(2, 4, 32), samples),
        "seq2seq": lambda: (seq2seq(folder), logits(2, 4, 32), samples),
    }


FAMILIES = pytest.mark.parametrize("family", ["ctc", "transducer", "modified", "seq2seq"])
