"""Two hundred damaged files of each format (fifty where rows are lines); the benchmark: 10,000."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from benchmarks.mutated_inputs import FORMATS, damage, read

from xlasr.data.readers import READERS

BY_LINE = [
    READERS[name]
    for name in (
        "common_voice nemo kaldi lhotse jsut librispeech mls fleurs reazonspeech mustc huggingface"
    ).split()
]


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    """No crash, no hang (two seconds of CPU time), nothing that vanishes without a word."""
    (tmp_path / "a.wav").touch()
    rng = random.Random(200)
    outcomes = set()
    for n in range(50 if READERS[FORMATS[name].reader] in BY_LINE else 200):
        content = damage(rng.choice(FORMATS[name].good), rng)
        outcome = read(FORMATS[name], content, tmp_path)
        assert outcome != "silent", (n, content)
        outcomes.add(outcome)
    assert "refused" in outcomes and outcomes & {"read", "partly"}


@pytest.mark.parametrize("name", FORMATS)
def test_the_whole_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.wav").touch()
    for content in FORMATS[name].good:
        assert read(FORMATS[name], content, tmp_path) in ("read", "partly")
