"""Long sound and its text: cut back, and what does not match is listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.alignment.spoken import FakeEncoder, fake_model, say, silence

from xlasr.alignment.posteriors import posteriors
from xlasr.alignment.segment import Matching, Segmentation, segment
from xlasr.alignment.suspects import suspects
from xlasr.alignment.text import make_unit
from xlasr.alignment.words import align
from xlasr.data.audio import write_wav
from xlasr.data.corpus import Utterance
from xlasr.errors import DataError, UsageError

LINES = Matching(unit="line")
WORDS = "ahoj rybo kde jsi potapec rekni zizka lod plave tady voda more kapitan jed".split()


def lines(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 7))) for _ in range(n)]


def recording(
    spoken: list[str], gap_s: float = 0.4
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    parts: list[NDArray[np.float32]] = []
    spans = []
    at = 0
    for text in spoken:
        parts.append(silence(gap_s))
        at += len(parts[-1])
        parts.append(say(text))
        spans.append((at / 16_000, (at + len(parts[-1])) / 16_000))
        at += len(parts[-1])
    return np.concatenate(parts), spans


def blocks(samples: NDArray[np.float32], size: int = 7001) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def check_spans(found: Segmentation, expected: list[tuple[float, float]]) -> None:
    assert len(found.utterances) == len(expected)
    for utterance, (start, end) in zip(found.utterances, expected, strict=True):
        assert start - 0.15 <= utterance.start_s <= start + 0.02
        assert end - 0.05 <= utterance.end_s <= end + 0.15


def test_a_recording_is_cut_back_into_its_lines() -> None:
    spoken = lines(30, 0)
    samples, spans = recording(spoken)
    model = fake_model()
    found = segment(model, blocks(samples), "\n".join(spoken), LINES)
    check_spans(found, spans)
    assert [u.text for u in found.utterances] == spoken
    assert [u.line for u in found.utterances] == list(range(1, 31))
    assert found.left_out == []
    assert found.duration_s == len(samples) / 16_000 > 60
    assert all(-0.1 < u.worst <= u.score < 0 for u in found.utterances)
    # the whole never reached the encoder at once
    assert isinstance(model.encoder, FakeEncoder)
    assert model.encoder.longest <= 10 * 16_000


def test_text_nobody_says_and_sound_without_text_are_left_out_and_listed() -> None:
    spoken = lines(20, 1)
    samples, spans = recording(spoken)
    written = spoken[:5] + lines(3, 77) + spoken[5:12] + spoken[14:]
    found = segment(fake_model(), blocks(samples), "\n".join(written), LINES)
    check_spans(found, spans[:12] + spans[14:])
    text = [item for item in found.left_out if item.what == "text"]
    assert [(item.text, item.line) for item in text] == [(written[i], i + 1) for i in (5, 6, 7)]
    assert all(spans[4][1] - 0.1 <= t.start_s <= t.end_s <= spans[5][0] + 0.02 for t in text)
    assert all(item.reason == "not heard here" for item in text)
    sound = [item for item in found.left_out if item.what == "audio"]
    assert len(sound) == 1
    assert sound[0].text == f"{spoken[12]}{spoken[13]}"
    assert spans[12][0] <= sound[0].start_s < sound[0].end_s <= spans[13][1]


def test_a_low_score_is_left_out() -> None:
    spoken = lines(6, 2)
    samples, _ = recording(spoken)
    written = list(spoken)
    written[3] = written[3][:8].replace(written[3][2], "z") + written[3][8:]
    lenient = replace(LINES, min_score=-9)
    all_of_it = segment(fake_model(), blocks(samples), "\n".join(written), lenient)
    worse = all_of_it.utterances[3].score
    assert worse < min(u.score for i, u in enumerate(all_of_it.utterances) if i != 3)
    strict = replace(LINES, min_score=worse + 1e-4)
    found = segment(fake_model(), blocks(samples), "\n".join(written), strict)
    assert [u.line for u in found.utterances] == [1, 2, 3, 5, 6]
    assert "score" in next(i for i in found.left_out if i.what == "text").reason


def test_the_wrong_transcript_and_no_letters_are_errors() -> None:
    samples, _ = recording(lines(5, 3))
    with pytest.raises(DataError, match="nothing of the 2 lines"):
        segment(fake_model(), blocks(samples), "zuzuzu zezeze zyzyzy\nvuvuvu vyvyvy", LINES)
    with pytest.raises(DataError, match="not one letter"):
        segment(fake_model(), blocks(samples), "123\n???")
    with pytest.raises(DataError, match="too little sound"):
        segment(fake_model(), iter([]), "ahoj")


def test_letters_the_model_does_not_know_are_counted() -> None:
    samples, _ = recording(["ahoj rybo", "kde jsi"])
    found = segment(fake_model(), blocks(samples), "ahoj x rybo\n???\nkde jxsi\nxx", LINES)
    assert found.unknown == {"x": 4}
    assert [u.text for u in found.utterances] == ["ahoj x rybo", "kde jxsi"]
    assert [(i.line, i.reason) for i in found.left_out] == [
        (2, "no letter that the model knows"),
        (4, "no letter that the model knows"),
    ]


def test_words_are_where_they_were_said() -> None:
    samples = np.concatenate([silence(0.5), say("ahoj"), silence(0.3), say("rybo"), silence(0.2)])
    words = align(fake_model(), samples, "Ahoj, rybo!")  # nobody said the space: it hides
    assert [w.text for w in words] == ["Ahoj,", "rybo!"]
    assert (words[0].start_s, words[0].end_s) == pytest.approx((0.5, 0.82), abs=0.041)
    assert (words[1].start_s, words[1].end_s) == pytest.approx((1.12, 1.44), abs=0.041)
    assert all(0.9 < w.confidence <= 1 for w in words)
    wrong = align(fake_model(), samples, "ahoj lybo")
    assert wrong[1].confidence < 0.8 < wrong[0].confidence


def test_words_reach_out_to_where_the_sound_fades_and_do_not_overlap() -> None:
    """The model hears 60 ms of a letter; the sound goes on behind it for 200 ms, then a pause."""
    tail = np.full(10 * 320, 0.15, dtype=np.float32)  # below what the fake model hears
    samples = np.concatenate([silence(0.5), say("a")[: 3 * 320], tail, silence(0.5), say("b")])
    words = align(fake_model(), samples, "a b")
    assert words[0].start_s == pytest.approx(0.5, abs=0.02)
    assert words[0].end_s == pytest.approx(0.76, abs=0.02)
    assert words[1].start_s == pytest.approx(1.26, abs=0.02)


def test_another_family_is_told_to_bring_an_aligner() -> None:
    class Other:
        family = "seq2seq"

    other: Any = Other()
    with pytest.raises(UsageError, match="Give a CTC run"):
        align(other, silence(1), "ahoj")


@pytest.mark.parametrize("size", [320, 7001, 10**7])
@pytest.mark.parametrize("seconds", [0.3, 7.99, 9.0, 9.02, 25.0, 61.3])
def test_windows_give_every_frame_once(seconds: float, size: int) -> None:
    samples, _ = recording(lines(20, 5))
    samples = samples[: round(seconds * 16_000)]
    model = fake_model()
    heard = posteriors(model, blocks(samples, size))
    whole = model(model.features([samples]))[0][0].detach().numpy()
    assert len(heard.log_probs) == -(-len(samples) // 320)
    assert np.allclose(heard.log_probs, whole, atol=0.01)
    assert heard.duration_s == len(samples) / 16_000
    assert len(heard.loudness) == -(-len(samples) // 160)


def test_words_keep_their_spelling_and_know_their_letters() -> None:
    unit = make_unit(fake_model(), "Bude-li – ahoj!")
    assert unit.words == ["Bude-li –", "ahoj!"]
    assert fake_model().tokenizer.decode(unit.symbols.tolist()) == "bude li ahoj"
    assert unit.word_of.tolist() == [0] * 7 + [-1] + [1] * 4


def test_swapped_transcripts_come_first(tmp_path: Path) -> None:
    texts = lines(40, 8)
    swapped = {3: 17, 17: 29, 29: 3}
    utterances = []
    for i, text in enumerate(texts):
        path = tmp_path / f"{i}.wav"
        write_wav(path, np.concatenate([silence(0.2), say(text)]))
        written = texts[swapped.get(i, i)]
        duration = (len(say(text)) + 3200) / 16_000
        utterances.append(Utterance(str(i), path, 0.0, duration, written, "cs", None, "g"))
    # three times the text that fits into the sound
    utterances[5] = Utterance("5", utterances[5].audio, 0.0, 0.3, texts[5] * 3, "cs", None, "g")
    ranked = suspects(fake_model(), utterances)
    assert {s.id for s in ranked[:4]} == {"3", "17", "29", "5"}
    assert ranked[0].id == "5"
    assert ranked[0].score == -np.inf
    assert ranked[-1].score == pytest.approx(0, abs=0.05)
    assert ranked[-1].heard == ranked[-1].text
    assert [s.score for s in ranked] == sorted(s.score for s in ranked)
