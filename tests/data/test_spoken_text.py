"""Synthetic speech: the same every time, for training only, and said to be synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from xlasr.data.corpus import Corpus
from xlasr.data.prepare import prepare
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import spoken_text
from xlasr.data.readers.base import ReadOptions
from xlasr.data.synthesis import Synthesiser, Voice, draw_voice
from xlasr.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))


def test_speech_follows_text_voice_and_language() -> None:
    cs = Synthesiser("cs")
    plain = cs.say("Ahoj, rybo.", Voice("m1"))
    assert plain.dtype == np.float32
    assert 0.4 < len(plain) / 16_000 < 2.5
    assert 0.05 < float(np.abs(plain).max()) <= 1.0
    fast = cs.say("Ahoj, rybo.", Voice("m1", words_per_minute=300))
    assert len(fast) < 0.9 * len(plain)
    longer = cs.say("Ahoj, rybo. Kde je ta loď?", Voice("m1"))
    assert len(longer) > 1.5 * len(plain)


def test_what_cannot_be_spoken() -> None:
    with pytest.raises(DataError, match="no voice for 'xx-nowhere'"):
        Synthesiser("xx-nowhere")
    with pytest.raises(DataError, match="speak nothing"):
        Synthesiser("cs").say("", Voice("m1"))
    with pytest.raises(DataError, match=r"0\.16 s for the 8 letters .* may lack its dictionary"):
        Synthesiser("fo").say("Ahoj, rybo.", Voice("m1"))


def test_half_a_sentence_is_spoken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen once in thousands of runs: 0.22 s for a sentence of 0.75 s."""
    whole, halves = Synthesiser._spoken, [False, True]

    def half_at_first(self: Synthesiser, text: str, voice: Voice) -> np.ndarray:
        samples = whole(self, text, voice)
        return samples[: len(samples) * 3 // 10] if halves.pop() else samples

    monkeypatch.setattr(Synthesiser, "_spoken", half_at_first)
    assert len(Synthesiser("cs").say("Ahoj, rybo.", Voice("m1"))) > 0.4 * 16_000
    assert not halves


def test_a_text_file_becomes_a_corpus_for_training_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("Kde je ta ryba?\n\n---\nPlave tady u lodi.\nKde je ta ryba?\n", "utf-8")
    before = path.read_bytes()
    said: list[str] = []
    quarantine = Quarantine()
    options = ReadOptions(language="cs", say=said.append)
    records = list(spoken_text.read_sentences(path, options, quarantine))
    assert [r.text for r in records] == ["Kde je ta ryba?", "Plave tady u lodi.", "Kde je ta ryba?"]
    assert {r.split for r in records} == {"train"}
    assert all((r.speaker or "").startswith("espeak-ng ") for r in records)
    assert records[0].id == records[2].id  # prepare lists the second as a duplicate
    assert quarantine.counts() == {"not speech": 1}
    assert "SYNTHETIC" in said[0]
    samples, rate = soundfile.read(records[0].audio)
    assert (rate, samples.ndim) == (16_000, 1)
    prepare(path, tmp_path / "corpus", language="cs", reader="spoken-text")
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.splits == ["train"]
    assert len(corpus.split("train")) == 2
    assert corpus.card.quarantined == {"duplicate id": 1, "not speech": 1}
    assert path.read_bytes() == before


def test_only_whole_clean_sentences_of_the_language_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / spoken_text.FORTUNES / "cs"
    folder.mkdir(parents=True)
    text = (
        "\tJeden muž šel\nklidně do lesa. Druhý měl 3 děti. A byl to člen ČSAD.\n"
        "\t\t-- Někdo Slavný\n%\nThe quick brown fox jumps.\n%\nkončí malým, začíná takže ne.\n"
        "%\nJeden muž šel klidně do lesa.\n"
    )
    (folder / "citace").write_text(text, "utf-8")
    (folder / "citace.dat").write_text(text, "utf-8")
    (folder / "klasik-sk").write_text("Toto je veta v slovenčine.\n", "utf-8")
    (folder / "stare").write_bytes("Příliš žluťoučký kůň úpěl.\n".encode("iso8859-2"))
    assert spoken_text.fortune_sentences(tmp_path, "cs") == ["Jeden muž šel klidně do lesa."]
    assert spoken_text.fortune_sentences(tmp_path, "nl") == []
    with pytest.raises(DataError, match="no quotations in language 'nl'"):
        list(spoken_text.read_fortunes(tmp_path, ReadOptions(language="nl"), Quarantine()))


@pytest.mark.parametrize("content", [b"", b" \n", None])
def test_a_file_without_sentences_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lines.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="sentence on each line"):
        list(spoken_text.read_sentences(path, ReadOptions(language="cs"), Quarantine()))


def test_voices_differ_from_sentence_to_sentence() -> None:
    drawn = {draw_voice(np.random.default_rng(seed)) for seed in range(30)}
    assert len(drawn) == 30
    assert len({voice.variant for voice in drawn}) > 8
