from __future__ import annotations

from pathlib import Path

import pytest
from tests.adaptation.test_trainable import build

from xlasr.adaptation.vocabulary import cut_to_text, extend_to_text
from xlasr.errors import UsageError


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
    with pytest.raises(UsageError, match="extend is for ctc"):
        extend_to_text(whisper, ["a"])
