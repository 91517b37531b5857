"""Manifests of other toolkits: NeMo, Kaldi, lhotse (which writes its own here)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import Read, read, sound

from xlasr.data.audio import decode
from xlasr.data.prepare import prepare
from xlasr.data.readers import guess_reader
from xlasr.errors import DataError, UsageError


def put(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def spans(result: Read) -> dict[str, tuple[float, float | None, str]]:
    return {r.id: (r.start_s, r.duration_s, r.text) for r in result.records}


# --- NeMo -----------------------------------------------------------------------------------


def test_nemo(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav/a.wav").touch()
    rows: list[Any] = [
        {
            "audio_filepath": "wav/a.wav",
            "duration": 1.5,
            "text": "whole",
            "speaker": 7,
            "lang": "x",
            "translation_en": "all of it " * 40,
            "note": "too long to keep " * 40,
        },
        {
            "audio_filepath": str(tmp_path / "wav/a.wav"),
            "duration": 1,
            "offset": 2.5,
            "text": "cut",
        },
        {"audio_filepath": "wav/b.wav", "duration": 1, "text": "gone"},
        {"audio_filepath": "wav/a.wav", "duration": 0, "text": "empty"},
        {"audio_filepath": "wav/a.wav", "duration": "long", "text": "A"},
        {"audio_filepath": "wav/a.wav", "offset": -1, "text": "A"},
        {"audio_filepath": "wav/a.wav", "duration": 1},
        {"duration": 1, "text": "A"},
        ["no object"],
    ]
    path = put(tmp_path / "train_manifest.json", *map(json.dumps, rows), '{"cut off')
    assert guess_reader(path) == guess_reader(tmp_path) == "nemo"
    result = read("nemo", path)
    assert spans(result) == {
        "wav/a": (0.0, 1.5, "whole"),
        f"{tmp_path}/wav/a-00002500": (2.5, 1.0, "cut"),
    }
    kept = {"lang": "x", "translation_en": "all of it " * 40}
    assert result.records[0].speaker == "7" and result.records[0].custom == kept
    assert [reason for _, reason in result.reasons] == [
        "missing audio", *["bad row"] * 3, "missing text", *["bad row"] * 3
    ]  # fmt: skip
    assert result.n_rows == len(rows) + 1
    assert "NaN" not in str(result.quarantine.entries)


def test_nemo_manifests_with_sides(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    for side in ("train", "dev", "test"):
        put(tmp_path / f"{side}.jsonl", f'{{"audio_filepath": "a.wav", "text": "{side}"}}')
    result = read("nemo", tmp_path)
    assert {r.text: r.split for r in result.records} == {s: s for s in ("train", "dev", "test")}
    (tmp_path / "train.jsonl").rename(tmp_path / "more.jsonl")
    assert {r.split for r in read("nemo", tmp_path).records} == {None}


def test_recordings_elsewhere(tmp_path: Path) -> None:
    path = put(tmp_path / "m/a.json", '{"audio_filepath": "x/a.wav", "text": "A"}')
    (tmp_path / "media/x").mkdir(parents=True)
    (tmp_path / "media/x/a.wav").touch()
    assert read("nemo", path).reasons == [("x/a", "missing audio")]
    assert len(read("nemo", path, media=tmp_path / "media").records) == 1
    with pytest.raises(UsageError, match="Correct --media"):
        read("nemo", path, media=tmp_path / "gone")


# --- Kaldi ----------------------------------------------------------------------------------


def kaldi(folder: Path, **tables: list[str]) -> Path:
    for name, lines in tables.items():
        put(folder / name.replace("_scp", ".scp"), *lines)
    return folder


def test_kaldi(tmp_path: Path) -> None:
    for name in "abc":
        sound(tmp_path / f"wav/{name}.wav", 0.1)
    folder = kaldi(
        tmp_path / "data/all",
        wav_scp=[
            "a wav/a.wav",
            f"b {tmp_path}/wav/b.wav",
            f"p touch {tmp_path}/ran |",
            "k raw.ark:12",
            "g gone.wav",
            "n wav/c.wav",
            "a wav/b.wav",
        ],
        text=["a Dobrý den", "b\tAno", "p B", "k B", "g B", "x nobody"],
        utt2spk=["a Eva", "b Jan", "y Jan"],
    )
    assert guess_reader(folder) == guess_reader(tmp_path / "data") == "kaldi"
    result = read("kaldi", folder)
    assert [(r.id, r.text, r.speaker) for r in result.records] == [
        ("a", "Dobrý den", "Eva"),
        ("b", "Ano", "Jan"),
    ]
    assert sorted(result.reasons) == [
        ("g", "missing audio"),
        ("k", "not a file"),
        ("n", "missing text"),
        ("p", "not a file"),
        ("wav.scp line 7", "duplicate id"),
        ("x", "missing audio"),
    ]
    assert "utt2spk: 4 utterances are not in it, and 1 of its lines are of none" in result.said
    assert not (tmp_path / "ran").exists()
    (command,) = (e.detail for e in result.quarantine if e.record == "p")
    assert "is a command; only files are read. Run it by hand" in command


def test_kaldi_segments_and_sides(tmp_path: Path) -> None:
    for side in ("train_si284", "dev93", "test_eval92"):
        folder = tmp_path / side
        sound(folder / "r.wav", 3)
        kaldi(
            folder,
            wav_scp=["r r.wav"],
            segments=["u1 r 0.5 1.25", "u2 r 2 -1", "u3 r 2 1", "u4 r x 1", "u5 q 0 1", "u6 r 0"],
            text=[f"u{n} text {n}" for n in range(1, 7)],
        )
    result = read("kaldi", tmp_path / "train_si284")
    assert spans(result) == {"u1": (0.5, 0.75, "text 1"), "u2": (2.0, None, "text 2")}
    assert [reason for _, reason in result.reasons] == [
        "bad row", "bad row", "missing audio", "bad row"
    ]  # fmt: skip
    both = read("kaldi", tmp_path)
    assert both.n_rows == 18
    assert {r.split for r in both.records} == {None}  # "dev93" is no name of a side
    (tmp_path / "dev93").rename(tmp_path / "dev_93")
    assert {r.split for r in read("kaldi", tmp_path).records} == {"train", "dev", "test"}


KEY = st.sampled_from("abcde")


@settings(max_examples=60, deadline=None)
@given(scp=st.sets(KEY), segments=st.sets(KEY) | st.none(), text=st.sets(KEY))
def test_kaldi_rows_add_up(
    tmp_path_factory: pytest.TempPathFactory,
    scp: set[str],
    segments: set[str] | None,
    text: set[str],
) -> None:
    folder = tmp_path_factory.mktemp("kaldi")
    (folder / "a.wav").touch()
    kaldi(folder, wav_scp=[f"{k} a.wav" for k in scp], text=[f"{k} A" for k in text])
    if segments is not None:
        kaldi(folder, segments=[f"{k} {k} 0 1" for k in segments])
    result = read("kaldi", folder)
    ids = [r.id for r in result.records] + [record for record, _ in result.reasons]
    assert sorted(ids) == sorted((scp if segments is None else segments) | text)


# --- lhotse ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, supervisions, cuts and a Shar folder, by lhotse itself."""
    from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
    from lhotse.shar import SharWriter

    root = tmp_path_factory.mktemp("lhotse")
    for kind in ("pair", "cuts", "short", "changed", "shar"):
        (root / kind).mkdir()
    recordings, supervisions = [], []
    for n in range(3):
        path = sound(root / f"audio/r{n}.wav", 3, channels=2 if n == 2 else 1)
        recordings.append(Recording.from_file(path))
        for k, start in enumerate((0.5, 1.75)):
            whole = n == 2 and k == 0
            supervisions.append(
                SupervisionSegment(
                    id=f"s{n}{k}",
                    recording_id=f"r{n}",
                    start=start,
                    duration=1.0,
                    channel=[0, 1] if whole else 1 if n == 2 else 0,
                    text=f"text {n} {k}",
                    speaker=f"sp{n}",
                    custom={"take": k},
                )
            )
    r, s = RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(supervisions)
    r.to_file(root / "pair/x_recordings_train.jsonl.gz")
    s.to_file(root / "pair/x_supervisions_train.jsonl.gz")
    cuts = CutSet.from_manifests(recordings=r, supervisions=s)
    cuts.to_file(root / "cuts/cuts.jsonl.gz")
    short = CutSet.from_cuts(list(cuts.trim_to_supervisions(keep_overlapping=False)))
    short.to_file(root / "short/cuts.jsonl")
    first, second, *_ = short
    changed = [first.append(second), first.pad(5), first.perturb_speed(1.1), second]
    CutSet.from_cuts(changed).to_file(root / "changed/cuts.jsonl")
    with SharWriter(root / "shar", fields={"recording": "flac"}, shard_size=2) as writer:
        for cut in short:
            writer.write(cut)
    return root


EXPECTED = {
    f"s{n}{k}": (start, 1.0, f"text {n} {k}")
    for n in range(3)
    for k, start in ((0, 0.5), (1, 1.75))
}


@pytest.mark.parametrize("kind", ["pair", "cuts", "short"])
def test_lhotse_manifests(made: Path, kind: str) -> None:
    assert guess_reader(made / kind) == "lhotse"
    result = read("lhotse", made / kind)
    assert spans(result) == EXPECTED and not len(result.quarantine)
    records = {r.id: r for r in result.records}
    assert records["s10"].audio == made / "audio/r1.wav"
    assert (records["s10"].speaker, records["s10"].custom["take"]) == ("sp1", 0)
    assert [records[k].channel for k in ("s00", "s20", "s21")] == [None, None, 1]


def test_one_file_of_a_pair(made: Path) -> None:
    for kind in ("recordings", "supervisions"):
        assert spans(read("lhotse", made / f"pair/x_{kind}_train.jsonl.gz")) == EXPECTED


def test_lhotse_loads_the_same_sound(made: Path) -> None:
    from lhotse import CutSet

    cuts = {cut.id: cut for cut in CutSet.from_file(made / "short/cuts.jsonl")}
    for record in read("lhotse", made / "short").records:
        ours = decode(record.audio, start_s=record.start_s, duration_s=record.duration_s,
                      channel=record.channel)  # fmt: skip
        theirs = cuts[record.id].load_audio().mean(axis=0)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_shar(made: Path, tmp_path: Path) -> None:
    result = read("lhotse", made / "shar", scratch=tmp_path / "scratch")
    assert not len(result.quarantine)
    assert {r.id: (r.start_s, r.text) for r in result.records} == {
        key: (0.0, text) for key, (_, _, text) in EXPECTED.items()
    }
    for record in result.records:
        ours = decode(record.audio, start_s=record.start_s, duration_s=record.duration_s,
                      channel=record.channel)  # fmt: skip
        n, start_s, channel = int(record.id[1]), EXPECTED[record.id][0], None
        channel = 1 if record.id == "s21" else None
        source = made / f"audio/r{n}.wav"
        theirs = decode(source, start_s=start_s, duration_s=1.0, channel=channel)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    with pytest.raises(UsageError, match="scratch folder"):
        read("lhotse", made / "shar")


def test_shar_becomes_a_corpus_and_leaves_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    corpora = [
        prepare(made / "shar", tmp_path / f"out{n}", language="cs", progress=False)
        for n in range(2)
    ]
    sides = [{u.id: (s, u.group) for s in c.splits for u in c.split(s)} for c in corpora]
    assert len(sides[0]) == 6 and sides[0] == sides[1]
    assert list((tmp_path / "cache/unpacked").iterdir()) == []
    with pytest.raises(UsageError, match="cannot refer to it"):
        prepare(made / "shar", tmp_path / "x", language="cs", progress=False, copy_audio=False)


def test_a_damaged_shard(made: Path, tmp_path: Path) -> None:
    for path in (made / "shar").iterdir():
        content = path.read_bytes()
        cut = path.name == "recording.000001.tar"
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if cut else content)
    (tmp_path / "recording.000002.tar").unlink()
    result = read("lhotse", tmp_path, scratch=tmp_path / "scratch")
    assert 2 <= len(result.records) <= 4
    reasons = [reason for _, reason in result.reasons]
    assert reasons.count("bad transcript") == 1  # the tar itself, beside its rows
    assert result.n_rows - 1 == 6


def test_what_is_no_stretch_of_a_file(made: Path) -> None:
    result = read("lhotse", made / "changed")
    assert list(spans(result)) == ["s01"]
    assert [reason for _, reason in result.reasons] == ["bad cut"] * 3
    assert result.n_rows == 5  # the first of them holds two utterances


@pytest.mark.parametrize(
    ("kind", "source"), [("command", "touch ran"), ("url", "https://x/a.wav"), ("memory", "AAAA")]
)
def test_sources_that_are_no_files(tmp_path: Path, kind: str, source: str) -> None:
    recording = {"id": "r", "sources": [{"type": kind, "channels": [0], "source": source}]}
    recording |= {"sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    supervision = {"id": "s", "recording_id": "r", "start": 0, "duration": 1, "text": "A"}
    put(tmp_path / "recordings.jsonl", json.dumps(recording))
    put(tmp_path / "supervisions.jsonl", json.dumps(supervision))
    result = read("lhotse", tmp_path)
    assert result.reasons == [("s", "not a file")] and not result.records
    assert kind in result.quarantine.entries[0].detail


def test_lhotse_leftovers(made: Path, tmp_path: Path) -> None:
    pair = made / "pair"
    lines = gzip.decompress((pair / "x_supervisions_train.jsonl.gz").read_bytes()).splitlines()
    (tmp_path / "supervisions.jsonl").write_bytes(b"\n".join([*lines[:4], b"{", b'{"id": "z"}']))
    recordings = (pair / "x_recordings_train.jsonl.gz").read_bytes()
    (tmp_path / "recordings.jsonl.gz").write_bytes(recordings)
    result = read("lhotse", tmp_path)
    assert len(result.records) == 4
    assert result.reasons == [
        ("supervisions.jsonl line 5", "bad row"), ("z", "missing audio"), ("r2", "missing text")
    ]  # fmt: skip
    (tmp_path / "supervisions.jsonl").unlink()
    with pytest.raises(DataError, match="no manifests of lhotse: cuts, or recordings and"):
        read("lhotse", tmp_path)
