from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.adaptation.test_trainable import build
from torch import nn

from xlasr.adaptation.vocabulary import cut_to_text, extend_to_text, heads_by_language
from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.tokenizer import CharTokenizer


def test_cut_is_for_whisper_and_extend_for_letters(tmp_path: Path) -> None:
    whisper = build(tmp_path / "seq2seq", "seq2seq/whisper")
    letters = build(tmp_path / "ctc", "ctc/whisper")
    before = len(whisper.tokenizer)
    rows = cut_to_text(whisper, ["ahoj rybo"])
    assert rows == len(whisper.tokenizer) == whisper.hf.proj_out.out_features < before
    assert extend_to_text(letters, ["ahoj"]) == 0
    head = letters.head
    assert extend_to_text(letters, ["žába", "že"]) == 2  # ž, á; the others are there
    assert letters.head is not head
    assert letters.head.out_features == len(letters.tokenizer) == 14
    with pytest.raises(UsageError, match="cut is for Whisper"):
        cut_to_text(letters, ["a"])
    with pytest.raises(UsageError, match="models that write letters"):
        extend_to_text(whisper, ["a"])


def test_heads_of_languages_are_kept_extended_or_replaced(tmp_path: Path) -> None:
    model = build(tmp_path, "ctc/whisper")
    assert isinstance(model, CTCModel)

    def new(language: str, tokenizer: CharTokenizer) -> nn.Linear:
        return nn.Linear(model.encoder.dim, len(tokenizer))

    first = model.head
    heads_by_language(model, {"cs": ["ahoj"], "nl": ["dag"]}, "keep", new)
    czech, dutch = model.parts["cs"], model.parts["nl"]
    assert czech.head is first and model.head is first  # the head it had is that of its language
    assert dutch.tokenizer is not None and dutch.tokenizer.symbols == ["a", "d", "g"]
    assert set(dict(model.named_parameters())) >= {"heads.cs.weight", "heads.nl.bias"}
    assert "head.weight" not in dict(model.named_parameters())  # each once
    before = dutch.head
    assert before is not None
    heads_by_language(model, {"nl": ["dagen"]}, "keep", new)
    assert model.parts["nl"].head is before and model.active_part == "nl"
    heads_by_language(model, {"nl": ["dagen"]}, "extend", new)
    wider = model.parts["nl"]
    assert wider.tokenizer is not None and wider.tokenizer.symbols == ["a", "d", "g", "e", "n"]
    assert wider.head is not None and torch.equal(wider.head.weight[:4], before.weight)
    assert model.heads["nl"] is wider.head is model.head
    widest = wider.head
    heads_by_language(model, {"nl": ["dag"]}, "replace", new)
    replaced = model.parts["nl"]
    assert replaced.tokenizer is not None and replaced.tokenizer.symbols == ["a", "d", "g"]
    assert replaced.head is not before and replaced.head is not widest
    assert model.parts["cs"].head is first  # it rests
