"""Planted pauses and loudness, every block size, and how much is held in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.data.voice import (
    FRAME,
    Cutting,
    Segment,
    Segmenter,
    SileroVAD,
    segments,
    silero_file,
)
from xlasr.errors import UsageError

RATE = 16_000
Samples = NDArray[np.float32]


def loud(frames: Samples) -> Samples:
    """A stand-in for the voice detector: what is loud is speech."""
    return (np.square(frames).mean(axis=1) > 1e-5).astype(np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def blocks(samples: Samples, sizes: list[int]) -> Iterator[Samples]:
    """The samples in blocks of the sizes, over and over, in one array that is reused."""
    at, turn = 0, 0
    shared = np.empty(max(sizes), dtype=np.float32)
    while at < len(samples):
        piece = samples[at : at + sizes[turn % len(sizes)]]
        shared[: len(piece)] = piece
        yield shared[: len(piece)]
        at, turn = at + len(piece), turn + 1


def same(a: list[Segment], b: list[Segment]) -> bool:
    return len(a) == len(b) and all(
        (x.start_s, x.end_s) == (y.start_s, y.end_s) and np.array_equal(x.samples, y.samples)
        for x, y in zip(a, b, strict=True)
    )


@given(
    st.lists(st.tuples(st.floats(0.01, 8), st.booleans()), max_size=12),
    st.lists(st.integers(1, 40_000), min_size=1, max_size=4).filter(lambda s: max(s) > 500),
    st.sampled_from([Cutting(), Cutting(max_segment_s=3.0, min_silence_s=0.8, pad_s=0.3)]),
)
@settings(max_examples=40, deadline=None)
def test_any_blocks_give_the_same_segments(
    parts: list[tuple[float, bool]], sizes: list[int], cutting: Cutting
) -> None:
    empty = np.zeros(0, dtype=np.float32)
    samples = np.concatenate(
        [empty, *(noise(s, 0.1 if talk else 1e-4, i) for i, (s, talk) in enumerate(parts))]
    )
    found = list(segments([samples], cutting, detector=loud))
    assert same(found, list(segments(blocks(samples, sizes), cutting, detector=loud)))
    before = 0.0
    for segment in found:
        first, last = round(segment.start_s * RATE), round(segment.end_s * RATE)
        assert np.array_equal(segment.samples, samples[first:last])
        assert before <= segment.start_s < segment.end_s <= len(samples) / RATE
        assert segment.end_s - segment.start_s <= cutting.max_segment_s
        before = segment.end_s
    # nothing that counts is lost: speech longer than the minimum is inside a segment
    covered = np.zeros(len(samples), dtype=bool)
    for segment in found:
        covered[round(segment.start_s * RATE) : round(segment.end_s * RATE)] = True
    at = 0
    for seconds, talk in parts:
        n = round(seconds * RATE)
        if talk and seconds > cutting.min_speech_s + 3 * FRAME / RATE:
            assert covered[at + FRAME : at + n - FRAME].all()
        at += n


def test_pauses_padding_and_short_bursts() -> None:
    quiet, talk = 1e-4, 0.1
    samples = np.concatenate(
        [
            noise(1.024, quiet),
            noise(2.048, talk),
            noise(0.32, quiet),  # too short to cut
            noise(1.024, talk),
            noise(1.024, quiet),
            noise(0.064, talk),  # a click
            noise(1.024, quiet),
            noise(0.512, talk),
        ]
    )
    found = [t for s in segments([samples], detector=loud) for t in (s.start_s, s.end_s)]
    assert found == pytest.approx([1.024 - 0.2, 4.416 + 0.2, 6.528 - 0.2, 7.04])


def test_too_long_speech_is_cut_at_its_quietest_place() -> None:
    samples = noise(25, 0.1)
    for at in (7.0, 15.5):  # softer, but no pause
        samples[round(at * RATE) : round((at + 0.3) * RATE)] *= 0.1
    found = list(segments([samples], Cutting(max_segment_s=10), detector=loud))
    assert found[0].end_s == pytest.approx(7.15, abs=0.16)
    assert found[1].end_s == pytest.approx(15.65, abs=0.16)
    assert [b.start_s for b in found[1:]] == [a.end_s for a in found[:-1]]
    assert found[-1].end_s == 25
    assert sum(len(s.samples) for s in found) == len(samples)


@pytest.mark.parametrize(("talk", "pause"), [(60, 17), (72, 5)])
def test_too_long_speech_that_pauses_just_then_ends_there(talk: int, pause: int) -> None:
    # at most 75 frames without padding; the pause alone is too short to cut
    cutting = Cutting(max_segment_s=3.0, min_silence_s=0.8, pad_s=0.3)
    length = FRAME / RATE
    samples = np.concatenate(
        [noise(talk * length, 0.1), noise(pause * length, 1e-4), noise(30 * length, 0.1)]
    )
    first, second = segments([samples], cutting, detector=loud)
    assert first.end_s == pytest.approx(min(talk * length + 0.3, 75 * length))
    assert second.start_s == pytest.approx(max(first.end_s, (talk + pause) * length - 0.3))


def test_hysteresis() -> None:
    def pretend(values: list[float]) -> list[tuple[float, float]]:
        def detector(frames: Samples) -> Samples:
            return np.array([values.pop(0) for _ in frames], dtype=np.float32)

        cutting = Cutting(min_silence_s=0.064, pad_s=0.0, min_speech_s=0.0)
        samples = np.zeros(len(values) * FRAME, dtype=np.float32)
        found = segments([samples], cutting, detector=detector)
        return [(s.start_s * RATE / FRAME, s.end_s * RATE / FRAME) for s in found]

    assert pretend([0.4, 0.6, 0.4, 0.4, 0.4, 0.6, 0.1, 0.1, 0.4]) == [(1, 6)]
    assert pretend([0.4, 0.4, 0.4]) == []
    assert pretend([0.6, 0.1, 0.6, 0.1, 0.1]) == [(0, 3)]


def test_an_hour_is_held_in_a_minute_s_memory() -> None:
    segmenter = Segmenter(detector=loud)
    talk, quiet, block = noise(28, 0.1), noise(2, 1e-4), 30 * RATE
    most, n_segments, kept = 0, 0, 0
    for i in range(120):
        mixed = noise(30, 0.1, i) if i % 3 else np.concatenate([talk, quiet])
        for segment in segmenter.push(mixed[:block]):
            n_segments += 1
            kept = max(kept, segment.samples.base is not None)  # views would keep their block
            most = max(most, segmenter.buffered)
        most = max(most, segmenter.buffered)
    assert n_segments > 120
    assert not kept
    assert most <= (28 + 3) * RATE


def test_silence_and_nothing_have_no_segments() -> None:
    assert list(segments([noise(60, 1e-4)], detector=loud)) == []
    assert list(segments([], detector=loud)) == []
    assert list(segments([np.zeros(0, dtype=np.float32)], detector=loud)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.3},
        {"exit_threshold": 0.0},
        {"pad_s": 0.3},
        {"max_segment_s": 1.2},
        {"min_speech_s": -1.0},
    ],
)
def test_contradictions_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Cutting(**options)


def test_stereo_is_refused() -> None:
    with pytest.raises(UsageError, match="mono"):
        list(segments([np.zeros((2, 100), dtype=np.float32)], detector=loud))


def test_silero_equals_its_own_frame_by_frame_model() -> None:
    import onnxruntime

    samples = (noise(3.2, 0.05) * np.sin(np.arange(51_200) / 900)).astype(np.float32)
    frames = samples.reshape(-1, FRAME)
    session = onnxruntime.InferenceSession(str(silero_file().with_name("silero_vad.onnx")))
    state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
    for frame in frames:
        heard = np.concatenate([context, frame[None]], axis=1)
        out, state = session.run(None, {"input": heard, "state": state, "sr": np.array(RATE)})
        context = heard[:, -64:]
        expected.append(out.item())
    detector = SileroVAD()
    found = np.concatenate([detector(frames[i : i + 7]) for i in range(0, len(frames), 7)])
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_the_package_and_torch_are_not_imported() -> None:
    code = (
        "import sys; from xlasr.data.voice import SileroVAD; SileroVAD();"
        "print([m for m in ('torch', 'torchaudio', 'silero_vad') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_pauses_between_real_sentences_are_found(fillets_tree: Path) -> None:
    from xlasr.data.audio import decode

    sentences: list[Samples] = []
    # the two leading actors: the parrot and the robots are no speech to the detector
    for path in sorted(fillets_tree.glob("usr/share/games/fillets-ng/sound/*/cs/*-[mv]-*.ogg"))[
        ::20
    ]:
        samples = decode(path)
        # begin and end in the middle of loud voice, within 15 dB of the loudest 10 ms: echoes and
        # breaths leave no doubt then where the planted pause begins
        power = np.square(samples[: len(samples) // 160 * 160]).reshape(-1, 160).mean(axis=1)
        voiced = np.flatnonzero(power > power.max() * 10**-1.5)
        trimmed = samples[voiced[0] * 160 : (voiced[-1] + 1) * 160]
        if 1.0 < len(trimmed) / RATE < 4 and np.diff(voiced).max() < 40:
            sentences.append(trimmed)
    sentences = sentences[:20]
    assert len(sentences) == 20
    pause = np.zeros(round(1.2 * RATE), dtype=np.float32)
    parts, planted = [pause], []
    for sentence in sentences:
        start = sum(map(len, parts)) / RATE
        planted.append((start, start + len(sentence) / RATE))
        parts += [sentence, pause]
    recording = np.concatenate(parts)
    cutting = Cutting(min_silence_s=0.6, pad_s=0.0)
    found = list(segments(blocks(recording, [30 * RATE]), cutting))
    assert len(found) == len(planted)
    errors = [
        abs(x - y)
        for segment, (start, end) in zip(found, planted, strict=True)
        for x, y in ((segment.start_s, start), (segment.end_s, end))
    ]
    # one of these clips begins with a loud sound that the detector does not take for speech
    assert sum(error > 0.15 for error in errors) <= 1
    assert np.median(errors) < 0.03
    assert same(found, list(segments(blocks(recording, [777, 16_384]), cutting)))
