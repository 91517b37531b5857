"""What a person sees before a corpus is made; blocks of long recordings; options on the way in."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr import cli
from xlasr.data import Corpus, audio, prepare, preview
from xlasr.data.arrange import BLOCK_S, MIN_GROUPS, choose_blocks
from xlasr.data.readers.base import RawRecord
from xlasr.errors import DataError, UnknownName, UsageError

RNG = np.random.default_rng(3)


def interview(folder: Path, name: str = "a", minutes: float = 10.0, step: float = 5.0) -> Path:
    """A recording whose labels are four of each five seconds, with three that cannot be used."""
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / f"{name}.flac", RNG.uniform(-0.3, 0.3, round(8000 * 60 * minutes)), 8000)
    n = round(60 * minutes / step)
    lines = [f"{i * step}\t{i * step + 4}\t{name.upper()}žluť {i}" for i in range(n)]
    lines += ["1.0\t1.0\tnula", f"{n * step + 9}\t{n * step + 10}\tza koncem", "0.1\t0.2\t"]
    (folder / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["xlasr", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_preview_is_what_prepare_makes_and_writes_nothing(tmp_path: Path) -> None:
    source = interview(tmp_path / "in")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = preview(source, language="cs", progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    corpus = prepare(source, tmp_path / "corpus", language="cs", progress=False)
    card = corpus.card
    assert found.utterances == 120 == sum(s.utterances for s in card.splits.values())
    assert found.seconds == pytest.approx(60 * card.minutes, abs=0.1) == pytest.approx(480)
    assert found.longest_s == pytest.approx(4.0)
    assert found.quarantine.counts() == card.quarantined
    assert card.quarantined == {"zero length": 1, "empty annotation": 1, "out of range": 1}
    assert {k: (n, g) for k, (n, _, g) in found.sides.items()} == {
        name: (stats.utterances, stats.groups) for name, stats in card.splits.items()
    }
    assert (found.group_rule, found.split_rule) == (card.group_rule, card.split_rule)
    assert (found.warnings, found.dropped) == (card.warnings, card.dropped)
    assert found.alphabet["ž"] == found.alphabet["ť"] == 120
    assert set(found.alphabet) >= set(card.alphabet)
    entries = (corpus.path / "quarantine.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in entries] == [
        {"record": e.record, "reason": e.reason, "detail": e.detail, "n_records": e.n_records}
        for e in found.quarantine
    ]
    # Rows in are rows out and rows listed, all the way to the corpus.
    rows_in = len((source / "a.txt").read_text("utf-8").splitlines())
    kept = sum(len(corpus.split(name)) for name in corpus.splits)
    assert kept + sum(card.quarantined.values()) + sum(card.dropped.values()) == rows_in


def test_the_preview_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = interview(tmp_path / "in")
    (source / "b.txt").write_text("0\t1\tbez zvuku\n2\t3\ttaky\n", "utf-8")
    before = set(tmp_path.rglob("*"))
    assert run(monkeypatch, "prepare", str(source), "--language", "cs", "--preview") == 0
    shown = capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
    for told in (
        "120 utterances, 0.13 hours, the longest 4.0 s; 5 records cannot be used (cs, read as",
        "speakers: unknown",
        "alphabet, 16 without case and punctuation: a 120, ž 120, l 120, u 120, ť 120, space 120,",
        "train: ", "dev: ", "test: ",
        "groups: block of about 60 s of a recording; split: sha256 of the group",
        "warning: only 1 recording: train, dev and test share voices and room",
        "2 missing audio:\n  b: b.txt: no recording: looked for 'b'",
        "1 zero length:\n  a line 121: a.txt: line 121 lasts from 1.000 to 1.000 s",
        "1 out of range:\n  a-00609000: ",
        "1 empty annotation:\n  a: a.txt: 1 of 123 annotations have no text",
    ):  # fmt: skip
        assert told in shown, shown
    (source / "a.flac").unlink()
    assert run(monkeypatch, "prepare", str(source), "--language", "cs", "--preview") == 1
    assert "not one usable utterance" in capsys.readouterr().err
    assert run(monkeypatch, "prepare", str(source), "--language", "cs") == 2
    assert "Missing argument 'corpus'" in capsys.readouterr().err


def test_voices_at_the_same_time_are_used_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Planted: six pairs on one channel; the same times on two channels are none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, channels in (("mono", 1), ("stereo", 2)):
        samples = RNG.uniform(-0.3, 0.3, (16_000 * 12, channels))
        sf.write(folder / f"{name}.wav", samples, 16_000)
        grid = ['File type = "ooTextFile"\nObject class = "TextGrid"\n0 12 <exists> 2']
        marks = {"Eva": (0, 3, 5, 9, 12), "Jan": (0, 2.95, 4, 7, 12)}
        for tier, times in marks.items():
            cells = " ".join(f'{a} {b} "{tier} {name} {a}"' for a, b in pairwise(times))
            grid.append(f'"IntervalTier" "{tier}" 0 12 4 {cells}')
        (folder / f"{name}.TextGrid").write_text("\n".join(grid), "utf-8")
    words = ["prepare", str(folder / "mono.TextGrid"), "--language", "cs", "--tier", "Eva"]
    words += ["--tier", "Jan"]
    assert run(monkeypatch, *words, "--preview") == 0
    shown = capsys.readouterr().out
    assert "warning: 6 pairs of utterances share time on one channel" in shown
    told = "and mono-Eva-00005000 share 5.000 to 7.000 s of mono.wav (tier 'Jan'; tier 'Eva')"
    assert "note, 6 same time" in shown and told in shown
    assert run(monkeypatch, *words, str(tmp_path / "c")) == 0
    assert "... and" not in (err := capsys.readouterr().err) and told in " ".join(err.split())
    corpus = Corpus.open(tmp_path / "c")
    assert sum(len(corpus.split(name)) for name in corpus.splits) == 8
    assert not corpus.card.quarantined
    notes = (corpus.path / "notes.jsonl").read_text("utf-8").splitlines()
    pairs = {
        (n["record"], re.findall(r"and (\S+) share", n["detail"])[0])
        for n in map(json.loads, notes)
    }
    begins = [("Eva", 0, "Jan", 0), ("Jan", 2950, "Eva", 3000), ("Eva", 3000, "Jan", 4000)]
    begins += [("Jan", 4000, "Eva", 5000), ("Eva", 5000, "Jan", 7000), ("Jan", 7000, "Eva", 9000)]
    assert len(notes) == 6 and {frozenset(pair) for pair in pairs} == {
        frozenset((f"mono-{a}-{i:08d}", f"mono-{b}-{j:08d}")) for a, i, b, j in begins
    }
    found = preview(
        folder / "stereo.TextGrid",
        language="cs",
        progress=False,
        tiers=["Eva", "Jan"],
        channels={"Eva": 0, "Jan": 1},
    )
    assert found.utterances == 8 and not found.quarantine.notes


def test_control_characters_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interview(tmp_path, minutes=0.2)
    (tmp_path / "a.txt").unlink()
    cue = "00:00.000 --> 00:01.000\n<v \x1b[31mEva>ahoj\n"
    (tmp_path / "a.vtt").write_text(f"WEBVTT\n\n{cue}", "utf-8")
    assert run(monkeypatch, "prepare", str(tmp_path), "--language", "cs", "--preview") == 0
    shown = capsys.readouterr().out
    assert "[31mEva 1" in shown and "\x1b" not in shown


def test_one_recording_is_split_in_blocks_and_the_card_says_so(tmp_path: Path) -> None:
    source = interview(tmp_path / "in", minutes=30)
    corpus = prepare(source, tmp_path / "corpus", language="cs", progress=False)
    card = corpus.card
    assert set(card.splits) == {"train", "dev", "test"}
    assert card.group_rule == f"block of about {BLOCK_S:.0f} s of a recording"
    assert "only 1 recording, so all sides have a share of each, in blocks" in card.split_rule
    assert "share voices and room" in card.warnings[0]
    # No block is on two sides, and no sound either: the spans of a side are those of its blocks.
    sides: dict[str, set[str]] = {}
    for name in corpus.splits:
        for utterance in corpus.split(name):
            sides.setdefault(utterance.group, set()).add(name)
            start_s = int(utterance.id.rsplit("-", 1)[1]) / 1000
            assert utterance.group == f"a#{int(start_s // BLOCK_S):03d}"
    assert len(sides) == 15 and all(len(where) == 1 for where in sides.values())


@pytest.mark.parametrize(
    ("n_recordings", "options", "rule"),
    [
        (2, {}, "block of about 60 s of a recording"),
        (3, {}, "recording"),
        (2, {"ratios": {"train": 8, "test": 2}}, "recording"),
        (1, {"ratios": {"train": 1}}, "recording"),
        (1, {"group_by": "recording"}, "recording"),
    ],
)
def test_recordings_are_the_groups_where_there_are_enough(
    tmp_path: Path, n_recordings: int, options: dict[str, object], rule: str
) -> None:
    for name in "abc"[:n_recordings]:
        interview(tmp_path / "in", name, minutes=5)
    found = preview(tmp_path / "in", language="cs", progress=False, **options)
    assert found.group_rule == rule
    if rule == "recording":
        assert sum(groups for _, _, groups in found.sides.values()) == n_recordings


def test_speakers_do_not_tear_recordings_apart(tmp_path: Path) -> None:
    """Twelve speakers would be groups of their own; but each recording has several of them."""
    for name in "abcd":
        folder = interview(tmp_path / "in", name, minutes=2)
        cues = "".join(
            f"00:{i:02}.000 --> 00:{i:02}.900\n<v S{name}{i % 3}>{name} {i}\n\n" for i in range(60)
        )
        (folder / f"{name}.txt").unlink()
        (folder / f"{name}.vtt").write_text(f"WEBVTT\n\n{cues}", "utf-8")
    found = preview(tmp_path / "in", language="cs", progress=False)
    assert len(found.speakers) == 12 >= MIN_GROUPS and found.group_rule == "recording"
    by_speaker = preview(tmp_path / "in", language="cs", progress=False, group_by="speaker")
    assert by_speaker.group_rule == "speaker"


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0, 3000), st.floats(0.1, 200)),
        min_size=1,
        max_size=30,
    )
)
def test_no_sound_is_in_two_blocks(parts: list[tuple[str, float, float]]) -> None:
    records = [RawRecord(str(i), Path(g), "x", None, g, s, d) for i, (g, s, d) in enumerate(parts)]
    blocks, block_s = choose_blocks(records, [g for g, _, _ in parts], 3)
    assert 20 <= block_s <= BLOCK_S
    spans: dict[str, list[tuple[float, float]]] = {}
    for (_, start, length), block in zip(parts, blocks, strict=True):
        spans.setdefault(block, []).append((start, start + length))
    for (group, _, _), block in zip(parts, blocks, strict=True):
        assert block.startswith(f"{group}#")
    for recording in "ab":
        ranges = sorted(
            (min(s)[0], max(end for _, end in s))
            for block, s in spans.items()
            if block.startswith(recording)
        )
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))


def test_whole_files_are_not_cut_into_blocks() -> None:
    records = [RawRecord(str(i), Path("a"), "x") for i in range(3)]
    assert choose_blocks(records, ["a", "a", "b"], 3) == (["a", "a", "b"], 0.0)


@pytest.mark.parametrize("copy_audio", [True, False])
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_times_outside_the_recording_cost_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_audio: bool, suffix: str
) -> None:
    """Half of the rows end behind the recording: it is not read again for each of them."""
    (tmp_path / "in").mkdir()
    sf.write(tmp_path / f"in/a.{suffix}", RNG.uniform(-0.3, 0.3, 16_000 * 60), 16_000)
    spans = [(i, i + 1) for i in range(60)] + [(7.5, 300)] + [(i, i + 1) for i in range(60, 130)]
    rows = [f"a.{suffix},{start},{end},slovo {start}" for start, end in spans]
    (tmp_path / "in/t.csv").write_text("\n".join(["audio,start,end,text", *rows]), "utf-8")
    passes = []
    real = audio.open_native
    monkeypatch.setattr(audio, "open_native", lambda path: passes.append(path) or real(path))
    corpus = prepare(
        tmp_path / "in", tmp_path / "c", language="cs", progress=False, copy_audio=copy_audio
    )
    assert corpus.card.quarantined == {"out of range": 71}
    assert sum(stats.utterances for stats in corpus.card.splits.values()) == 60
    assert len(passes) == (2 if copy_audio else 3)


def test_a_lone_label_outside_its_recording(tmp_path: Path) -> None:
    interview(tmp_path, minutes=0.2)
    (tmp_path / "a.txt").write_text("500\t501\tnikde\n", "utf-8")
    found = preview(tmp_path, language="cs", progress=False)
    assert found.utterances == 0 and found.quarantine.counts() == {"out of range": 1}


@pytest.mark.parametrize(("copy_audio", "n_passes"), [(True, 1), (False, 2)])
def test_a_preview_decodes_as_often_as_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_audio: bool, n_passes: int
) -> None:
    interview(tmp_path, minutes=0.2)
    (tmp_path / "a.txt").write_text("0\t1\tahoj\n2\t3\tden\n", "utf-8")
    passes = []
    real = audio.open_native
    monkeypatch.setattr(audio, "open_native", lambda path: passes.append(path) or real(path))
    preview(tmp_path, language="cs", progress=False, copy_audio=copy_audio)
    assert len(passes) == n_passes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tiers": ["x"]}, UsageError, r"tiers = \('x',\) is for elan, praat, labelstudio, and"),
        ({"tier_type": "x"}, UsageError, r"tier_type = 'x' is for elan, and this is read as 'sub"),
        ({"tier_index": 0}, UsageError, r"tier_index = 0 is for elan, praat, and"),
        ({"participant": "x"}, UsageError, r"participant = 'x' is for elan"),
        ({"media": "x"}, UsageError, r"x: no such folder of recordings"),
        ({"channels": {"x": 0}}, UsageError, r"no tier or speaker has that name"),
        ({"columns": {"text": "x"}}, UsageError, "columns and a delimiter are for tables"),
        ({"reader": "eaf"}, UnknownName, "Did you mean"),
        ({"reader": "elan"}, DataError, r"no \.eaf file"),
    ],
)
def test_options_of_another_layout(
    tmp_path: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    source = interview(tmp_path / "in", minutes=0.2)
    for call in (
        lambda: preview(source, language="cs", progress=False, **options),
        lambda: prepare(source, tmp_path / "c", language="cs", progress=False, **options),  # type: ignore[arg-type]
    ):
        with pytest.raises(error, match=message):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_options_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    sf.write(sounds / "a.wav", RNG.uniform(-0.3, 0.3, (16_000 * 8, 2)), 16_000)
    grid = ['File type = "ooTextFile"\nObject class = "TextGrid"\n0 8 <exists> 2']
    for name in ("Eva=1", "Jan"):
        grid.append(f'"IntervalTier" "{name}" 0 8 2 0 3 "{name} dobrý" 3 8 "{name} den"')
    (tmp_path / "a.TextGrid").write_text("\n".join(grid), "utf-8")
    source, out = str(tmp_path / "a.TextGrid"), str(tmp_path / "corpus")
    words = ["prepare", source, out, "--language", "cs", "--media", str(sounds)]
    assert run(monkeypatch, *words) == 2
    assert "several tiers could be meant: 'Eva=1', 'Jan'" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--tier", "Jan", "--channel", "Jan") == 2
    assert "--channel takes NAME=NUMBER; found 'Jan'" in capsys.readouterr().err
    words += ["--tier", "Jan", "--tier", "Eva=1", "--channel", "Jan=0", "--channel", "Eva=1=1"]
    assert run(monkeypatch, *words) == 0
    corpus = Corpus.open(tmp_path / "corpus")
    heard = {u.text: u.load() for name in corpus.splits for u in corpus.split(name)}
    for text, channel in (("Jan den", 0), ("Eva=1 den", 1)):
        part = audio.decode(sounds / "a.wav", start_s=3.0, duration_s=5.0, channel=channel)
        np.testing.assert_allclose(heard[text], part, atol=1e-4)
    assert run(monkeypatch, "prepare", source, str(tmp_path / "d"), "--language", "cs",
               "--media", str(sounds), "--tier-index", "0") == 0  # fmt: skip
    texts = [u.text for u in Corpus.open(tmp_path / "d").split("train")]
    assert re.fullmatch("Eva=1 (den|dobrý)", texts[0])
