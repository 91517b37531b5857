"""End-points, times and languages of streams, by an ear that hears tones exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from tests import tiny
from tests.training import small
from torch import Tensor, nn

from xlasr.decoding.streaming import EndPoints, Heard, StreamDecoder
from xlasr.models.ctc import CTCModel
from xlasr.models.emformer_config import EmformerConfig
from xlasr.models.heads import register_heads
from xlasr.models.parts import hold_part
from xlasr.models.streaming import StreamingEncoder
from xlasr.models.tokenizer import CharTokenizer

INFO = {"base": {"name": "b"}, "language": "cs"}


class Ear(StreamingEncoder):
    """Positions are the means of four frames; nothing is learnt and nothing remembered."""

    def __init__(self) -> None:
        hf = nn.Module()
        hf.layers = nn.ModuleList()
        hf.anything = nn.Parameter(torch.zeros(1))
        shape = EmformerConfig(n_layers=1, n_heads=1, ffn_dim=1, input_dim=1, output_dim=1)
        super().__init__(hf, 0, 80, shape)

    def begin(self, n_streams: int = 1) -> None:
        return None

    def normalised(self, frames: Tensor) -> Tensor:
        return frames

    def step(self, frames: Tensor, n_frames: Tensor, state: None) -> tuple[Tensor, None]:
        return frames[:, :16].reshape(len(frames), 4, 4, 80).mean(2), None


def silence(seconds: float) -> tiny.Clip:
    n = round(seconds / small.LETTER_S)
    return small.tones(" " * n)


@pytest.fixture(scope="module")
def ear() -> CTCModel:
    """Writes the letter whose tone is nearest; silence is the blank."""
    model = CTCModel(Ear(), CharTokenizer(list("abcdef")), dict(INFO)).eval()
    centres = []
    for letter in " abcdef":
        stream = model.encoder.stream()
        centres.append(stream.push(small.tones(letter * 8))[1:-1].mean(0))
    with torch.no_grad():
        model.head.weight.copy_(2 * torch.stack(centres))
        model.head.bias.copy_(-(torch.stack(centres) ** 2).sum(1))
    return model


def finals(found: list[Heard]) -> list[Heard]:
    return [h for h in found if h.is_final]


def heard(decoder: StreamDecoder, clip: tiny.Clip) -> list[Heard]:
    return decoder.push(clip) + decoder.flush()


def test_a_pause_ends_a_text_and_times_are_those_of_the_stream(ear: CTCModel) -> None:
    clip = np.concatenate([silence(0.6), small.tones("abc"), silence(1.56), small.tones("fed")])
    decoder = StreamDecoder(ear)
    early = decoder.push(clip[: round(2.4 * 16_000)])
    first, second = finals(early + decoder.push(clip[round(2.4 * 16_000) :]) + decoder.flush())
    assert finals(early) == [first]  # before anything else is said
    assert [h.text for h in early if not h.is_final][-1] == "abc"
    assert (first.text, second.text) == ("abc", "fed")
    for found, start_s in ((first, 0.6), (second, 2.52)):
        assert found.start_s == pytest.approx(start_s, abs=0.041)
        assert found.end_s == pytest.approx(start_s + 0.36, abs=0.13)  # a letter lasts 0.12
    longer = EndPoints(pause_s=1.7)
    assert len(finals(heard(StreamDecoder(ear, end_points=longer), clip))) == 1


def test_the_longest_text(ear: CTCModel) -> None:
    clip = small.tones("abcdef" * 7)
    found = finals(heard(StreamDecoder(ear, end_points=EndPoints(longest_s=1.0)), clip))
    assert "".join(h.text for h in found) in ("abcdef" * 7, "abcdeff" * 7)
    assert len(found) > 4
    assert all(h.end_s - h.start_s <= 1.0 for h in found)
    assert all(a.end_s <= b.start_s + 0.01 for a, b in itertools.pairwise(found))


def test_silence_gives_nothing_and_begins_anew(ear: CTCModel) -> None:
    decoder = StreamDecoder(ear)
    begun = decoder._search
    assert decoder.push(silence(6.0)) == []
    assert decoder._search is not begun
    assert decoder._search.n_frames * decoder.position_s < 2.4
    (final,) = finals(decoder.push(small.tones("abc")) + decoder.flush())
    assert final.text == "abc"
    assert final.start_s == pytest.approx(6.0, abs=0.041)


def test_streams_of_two_languages_on_one_model(ear: CTCModel) -> None:
    model = CTCModel(ear.encoder, ear.tokenizer, {**INFO, "language": "cs"}).eval()
    model.load_state_dict(ear.state_dict())
    hold_part(model, "cs")
    model.tokenizer, model.info["language"] = CharTokenizer(list("ABCDEF")), "nl"
    hold_part(model, "nl")
    register_heads(model)
    clip, found = small.tones("abcfed"), {"cs": list[Heard](), "nl": list[Heard]()}
    streams = {language: StreamDecoder(model, language=language) for language in found}
    for piece in np.array_split(clip, 5):
        for language, stream in streams.items():
            found[language] += stream.push(piece)
    for language, stream in streams.items():
        found[language] += stream.flush()
    assert [h.text.upper() for h in found["cs"]] == [h.text for h in found["nl"]]
    assert (found["cs"][-1].text, found["nl"][-1].text) == ("abcfed", "ABCFED")
