"""Recordings without transcripts: whole, or cut where nobody speaks; a corpus without letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import tiny

from xlasr.data import prepare
from xlasr.data.audio import write_wav
from xlasr.data.readers import recordings
from xlasr.data.voice import Cutting, Segment
from xlasr.errors import ConfigError, CorpusError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "rec"
    (place / "sub").mkdir(parents=True)
    for i in range(12):
        write_wav(place / "sub" / f"r{i:02d}.wav", tiny.clip(1.0 + i / 10, i))
    return place


def test_short_ones_are_whole(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF")
    made = prepare(
        folder, tmp_path / "c", language="cs", reader="recordings", progress=False,
        ratios={"train": 6, "dev": 3, "test": 3},
    )  # fmt: skip
    utterances = [u for name in made.splits for u in made.split(name)]
    assert {u.id for u in utterances} == {f"sub/r{i:02d}" for i in range(12)}
    assert made.splits == ["train", "dev", "test"]  # no text, so none of dev is "also in train"
    assert made.card.dropped == {} and not made.card.is_transcribed and made.card.alphabet == {}
    assert {u.text for u in utterances} == {""}
    assert made.card.quarantined == {"bad audio": 1}
    one = next(u for u in utterances if u.id == "sub/r03")
    assert one.duration_s == pytest.approx(1.3) and len(one.load()) == 20_800


def test_long_ones_are_cut_where_nobody_speaks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = np.concatenate([tiny.clip(20.0), np.zeros(80_000, np.float32), tiny.clip(14.0, 1)])
    write_wav(folder / "long.wav", long)
    seen = []

    def cuts(blocks: object, cutting: Cutting) -> list[Segment]:
        whole = np.concatenate(list(blocks))  # type: ignore[call-overload]
        seen.append((len(whole), cutting.max_segment_s))
        return [Segment(0.5, 19.5, whole[:1]), Segment(25.25, 39.0, whole[:1])]

    monkeypatch.setattr(recordings, "segments", cuts)
    made = prepare(folder, tmp_path / "c", language="cs", reader="recordings", progress=False)
    assert seen == [(39 * 16_000, 28.0)]  # every sample of the one that is long, once
    found = {u.id: u for name in made.splits for u in made.split(name)}
    assert len(found) == 14
    assert found["long-00000"].duration_s == pytest.approx(19.0)
    part = found["long-00001"].load()
    assert len(part) == round(13.75 * 16_000)
    np.testing.assert_allclose(part, long[404_000:624_000], atol=1e-4)
    assert found["long-00000"].group == found["long-00001"].group


def test_real_silence_is_left_out(folder: Path, tmp_path: Path) -> None:
    write_wav(folder / "silence.wav", np.zeros(40 * 16_000, np.float32))
    made = prepare(folder, tmp_path / "c", language="cs", reader="recordings", progress=False)
    assert made.card.quarantined == {"no speech": 1}


def test_what_needs_letters_says_so(folder: Path, tmp_path: Path) -> None:
    from xlasr import api

    made = prepare(folder, tmp_path / "c", language="cs", reader="recordings", progress=False)
    tiny.speech_dir(tmp_path / "base", "wav2vec2")
    with pytest.raises(ConfigError, match="has no transcripts, and ctc needs them"):
        api.adapt(made.path, base=str(tmp_path / "base"), recipe="ctc", out=tmp_path / "run")
    with pytest.raises(DataError, match=r"missing text(.|\n)*--reader recordings"):
        prepare(folder, tmp_path / "d", language="cs", progress=False)
    with pytest.raises(DataError, match="no audio file"):
        prepare(tmp_path / "base", tmp_path / "e", language="cs", reader="recordings")


def test_text_is_still_wanted_elsewhere(folder: Path, tmp_path: Path) -> None:
    from xlasr.data import Card, Utterance, write_corpus

    path = folder / "sub" / "r00.wav"
    with pytest.raises(CorpusError, match="has no text"):
        write_corpus(
            tmp_path / "c", {"train": [Utterance("a", path, 0.0, 1.0, "", "cs", None, "g")]},
            Card(language="cs"),
        )  # fmt: skip
