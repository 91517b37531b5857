"""Small models and corpora for the training tests, made once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # small.py, which driver.py loads without pytest

import small


@pytest.fixture(scope="session")
def whisper_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_whisper(tmp_path_factory.mktemp("bases") / "whisper")


@pytest.fixture(scope="session")
def wav2vec2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_wav2vec2(tmp_path_factory.mktemp("bases") / "wav2vec2")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_speech(tmp_path_factory.mktemp("corpora") / "tones").path


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own for every test, one thread, and the thread count put back."""
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
