"""Streams: the same texts however the audio is cut, end-points, times; nothing piles up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor, nn

from xlasr.decoding import ctc, transducer
from xlasr.decoding.ngram import NGram, build
from xlasr.decoding.recognise import DecodeOptions, token_confidence
from xlasr.decoding.streaming import EndPoints, Heard, StreamDecoder, timed_words
from xlasr.errors import DataError, RunError, UsageError
from xlasr.features.streaming import FrameStatistics
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.streaming import StreamingEncoder
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer, TransducerShape
from xlasr.models.whisper_chunks import Chunks

NEVER = EndPoints(1e6, 1e6, 1e6)
OFTEN = EndPoints(0.3, 0.5, 2.0)


@pytest.fixture(scope="module")
def speech(english_clips: list[tiny.Clip]) -> tiny.Clip:
    """Four seconds of a real prompt."""
    return next(clip for clip in english_clips if len(clip) > 64_000)[:64_000]


@pytest.fixture(scope="module")
def lm() -> NGram:
    return build([[1, 2, 4, 3], [2, 2, 1], [3, 4, 1, 2], [1, 1, 3]], 3, 5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, speech: tiny.Clip) -> dict[str, SpeechModel]:
    """Random ones that write now and then."""
    root = tmp_path_factory.mktemp("bases")
    emformer = find_base(str(tiny.emformer_dir(root / "emformer")))
    whisper = find_base(str(tiny.whisper_dir(root / "whisper", max_positions=100)))
    letters = CharTokenizer(["a", "b", "c", " "])
    found = {}
    for name, base, family, modified in (
        ("transducer", emformer, "transducer", False),
        ("modified", emformer, "transducer", True),
        ("ctc", emformer, "ctc", False),
        ("whisper", whisper, "ctc", False),
        ("whisper transducer", whisper, "transducer", False),
    ):
        torch.manual_seed(3)
        model = from_base(
            base, family, context=Chunks(8, 12) if base is whisper else None, language="cs",
            alphabet=letters, shape=TransducerShape(1, 8, 8, modified),
        )  # fmt: skip
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.4)
            head = model.joiner.output if isinstance(model, Transducer) else model.head
            head.bias.zero_()
            head.bias[0] = 1.0 if name == "transducer" else 0.7
        if base is not whisper:
            model.encoder.measure(FrameStatistics.of_clips([speech]))
        found[name] = model.eval()
    return found


KINDS = [
    ("transducer", 1, False),
    ("transducer", 4, True),
    ("modified", 1, False),
    ("modified", 3, True),
    ("ctc", 1, False),
    ("ctc", 4, True),
    ("whisper", 1, False),
    ("whisper transducer", 3, True),
]
all_kinds = pytest.mark.parametrize(("name", "beam", "fused"), KINDS)


def options(beam: int, lm: NGram | None) -> DecodeOptions:
    return DecodeOptions(beam=beam, lm=lm, lm_weight=0.4, length_bonus=1.2)


def finals(found: list[Heard]) -> list[Heard]:
    return [h for h in found if h.is_final]


def heard(decoder: StreamDecoder, clip: tiny.Clip, cuts: list[int]) -> list[Heard]:
    found = [h for piece in np.split(clip, sorted(cuts)) for h in decoder.push(piece)]
    return found + decoder.flush()


@all_kinds
@given(data=st.data())
@settings(deadline=None, max_examples=6)
def test_any_chunking_gives_the_same(
    models: dict[str, SpeechModel], speech: tiny.Clip, lm: NGram, name: str, beam: int,
    fused: bool, data: st.DataObject,
) -> None:  # fmt: skip
    n = data.draw(st.integers(1, len(speech)))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=20))
    asked = options(beam, lm if fused else None)

    def decoder() -> StreamDecoder:
        return StreamDecoder(models[name], asked, OFTEN)

    found = heard(decoder(), speech[:n], cuts)
    assert found == heard(decoder(), speech[:n], [])  # partial texts, words and times too


def test_single_samples(models: dict[str, SpeechModel], speech: tiny.Clip) -> None:
    clip = speech[20_000:32_000]
    found = heard(StreamDecoder(models["modified"]), clip, list(range(len(clip))))
    assert found == heard(StreamDecoder(models["modified"]), clip, [])
    assert len(found) > 2


@all_kinds
def test_a_stream_without_end_points_is_the_clip(
    models: dict[str, SpeechModel], speech: tiny.Clip, lm: NGram, name: str, beam: int, fused: bool
) -> None:
    model, clip = models[name], speech[:29_000]  # Whisper hears 2 s at once
    asked = options(beam, lm if fused else None)
    stream = model.encoder.stream()
    states = torch.cat([stream.push(clip), stream.flush()])
    shared: dict[str, Any] = {"lm": asked.lm, "lm_weight": 0.4, "length_bonus": 1.2, "beam": beam}
    if isinstance(model, Transducer):
        modified = model.shape.modified
        whole = (
            transducer.greedy(model, states, modified=modified)
            if beam == 1
            else transducer.beam(model, states, modified=modified, **shared)[0]
        )
    else:
        with torch.inference_mode():
            log_probs = model.log_probs(states)
        if beam == 1:
            search = ctc.GreedySearch()
            search.push(log_probs)
            whole = search.hypotheses()[0]
            assert ctc.greedy(log_probs[None], torch.tensor([len(states)])) == [whole.tokens]
        else:
            whole = ctc.prefix_beam(log_probs.numpy(), **shared)[0]
    assert whole.frames is not None and len(whole.frames) == len(whole.tokens) > 3
    found = heard(StreamDecoder(model, asked, NEVER), clip, [5000, 9000])
    assert [h.is_final for h in found] == [False] * (len(found) - 1) + [True]
    final = found[-1]
    assert final.text == model.tokenizer.decode(whole.tokens).strip()
    sure = token_confidence(whole, has_end=False)
    assert (sure is None) == whole.looped
    assert final.confidence == (None if sure is None else pytest.approx(sure, rel=1e-6))
    assert final.as_json().get("confidence") == (sure and round(sure, 4))
    assert not any("confidence" in h.as_json() for h in found[:-1])
    position_s = model.encoder.samples_per_position / 16_000
    wanted, new = [], True
    for token, frame in zip(whole.tokens, whole.frames, strict=True):
        if token == 4:
            new = True
            continue
        if new:
            wanted.append([frame * position_s, 0.0])
        wanted[-1][1] = (frame + 1) * position_s
        new = False
    assert [[w.start_s, w.end_s] for w in final.words] == [pytest.approx(w) for w in wanted]
    assert [w.text for w in final.words] == final.text.split()
    assert (final.start_s, final.end_s) == (final.words[0].start_s, final.words[-1].end_s)


# ---- limits


def test_whisper_begins_anew_before_its_positions_end(
    models: dict[str, SpeechModel], speech: tiny.Clip
) -> None:
    encoder = models["whisper"].encoder
    assert isinstance(encoder, StreamingEncoder) and encoder.max_stream_positions == 100
    found = finals(heard(StreamDecoder(models["whisper"], end_points=NEVER), speech, []))
    assert len(found) == 3
    # the second text is that of a stream which begins where it does
    later = speech[96 * 320 :]
    again = finals(heard(StreamDecoder(models["whisper"], end_points=NEVER), later, []))
    assert again[1].text == found[2].text
    assert again[1].start_s == pytest.approx(found[2].start_s - 96 * 0.02)


def test_what_loops_is_cut_and_ended(
    models: dict[str, SpeechModel], speech: tiny.Clip, lm: NGram
) -> None:
    model = models["modified"]
    assert isinstance(model, Transducer)
    bias = model.joiner.output.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias[1] += 50.0
    try:
        for asked in (DecodeOptions(), DecodeOptions(lm=lm, lm_weight=0.1)):
            found = finals(heard(StreamDecoder(model, asked, NEVER), speech, []))
            assert len(found) > 2
            assert {h.text for h in found[:-1]} == {"a"}
    finally:
        with torch.no_grad():
            bias.copy_(before)


def kept(decoder: StreamDecoder) -> int:
    """Everything that a decoder holds, counted: numbers, texts, elements of tensors."""
    seen: set[int] = set()
    waiting, total = [decoder], 0
    shared = {id(decoder.model), id(decoder.encoder), id(decoder.options)}
    while waiting:
        item: Any = waiting.pop()
        if id(item) in seen or id(item) in shared or isinstance(item, type | nn.Module):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            total += item.numel()
        elif isinstance(item, np.ndarray):
            total += item.size
        elif isinstance(item, dict):
            total += len(item)
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set):
            total += len(item)
            waiting += item
        elif isinstance(item, str):
            total += len(item)
        elif hasattr(item, "__dict__"):
            waiting.append(vars(item))
    return total


@pytest.mark.parametrize(
    ("name", "beam"), [("transducer", 1), ("modified", 3), ("ctc", 1), ("ctc", 3), ("whisper", 1)]
)
def test_nothing_piles_up(
    models: dict[str, SpeechModel], speech: tiny.Clip, lm: NGram, name: str, beam: int
) -> None:
    asked = options(beam, lm if beam > 1 else None)
    decoder = StreamDecoder(models[name], asked, EndPoints(0.3, 0.5, 1.5))
    most: Counter[int] = Counter()
    for minute in range(4):
        for at in range(0, 2 * len(speech), 4000):
            decoder.push(np.roll(speech, -at - 123 * minute)[:4000])
            most[minute] = max(most[minute], kept(decoder))
    assert most[3] <= 1.25 * most[0] + 200, most


# ---- what is refused


def test_models_of_whole_clips_are_refused(tmp_path: Path) -> None:
    base = find_base(str(tiny.whisper_dir(tmp_path / "whisper")))
    for family in ("ctc", "seq2seq"):
        model = from_base(
            base, family, context=Context(16, 16), language="cs", alphabet=CharTokenizer(["a"])
        )
        with pytest.raises(RunError, match=r"hears whole clips.*emformer-small.*context\.chunk"):
            StreamDecoder(model.eval())


def test_bad_samples_and_bad_calls(models: dict[str, SpeechModel], speech: tiny.Clip) -> None:
    decoder = StreamDecoder(models["ctc"])
    wanted = heard(StreamDecoder(models["ctc"]), speech, [])
    found = decoder.push(speech[:30_000])
    broken = speech[30_000:40_000].copy()
    broken[17] = np.nan
    with pytest.raises(DataError, match=r"sample 30017 of the audio is nan"):
        decoder.push(broken)
    assert decoder.push(speech[:0]) == []
    found += decoder.push(speech[30_000:]) + decoder.flush()  # nothing of the piece was taken
    assert found == wanted
    with pytest.raises(UsageError, match="begin a new one"):
        decoder.push(speech)
    with pytest.raises(UsageError, match="begin a new one"):
        decoder.flush()
    for times in ((0, 1, 1), (1, -1, 1), (1, 1, float("nan"))):
        with pytest.raises(UsageError, match="end-point"):
            EndPoints(*times)
    with pytest.raises(UsageError, match="dropout is on"):
        StreamDecoder(models["ctc"].train())
    models["ctc"].eval()


def test_a_state_of_other_segments_is_refused(
    models: dict[str, SpeechModel], speech: tiny.Clip, tmp_path: Path
) -> None:
    base = find_base(str(tiny.emformer_dir(tmp_path / "other", segment_frames=8)))
    other = from_base(base, "ctc", context=None, language="cs", alphabet=CharTokenizer(["a"]))
    decoder = StreamDecoder(models["ctc"])
    decoder._stream.frames.state = other.encoder.begin()
    with pytest.raises(UsageError, match=r"segment_frames 8 \(here 16"):
        decoder.push(speech)


def test_words_of_pieces_and_spaces() -> None:
    pieces = {1: "▁ab", 2: "c", 3: "▁", 4: "▁d"}

    def decode(tokens: list[int]) -> str:
        return "".join(pieces[t] for t in tokens).replace("▁", " ").strip()

    found = timed_words(decode, [1, 2, 3, 2, 4, 3], [3, 5, 6, 9, 9, 20], 0.04)
    assert [(w.text, w.start_s, w.end_s) for w in found] == [
        ("abc", pytest.approx(0.12), pytest.approx(0.24)),
        ("c", pytest.approx(0.36), pytest.approx(0.40)),
        ("d", pytest.approx(0.36), pytest.approx(0.40)),
    ]
    assert timed_words(decode, [], [], 0.04) == []
