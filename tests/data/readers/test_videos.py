"""Audio-visual clips in the layouts of LRS3, VoxCeleb2 and Kinetics: real files, every defect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet
from tests import tiny
from tests.data.clips import av_clip, greys
from tests.data.readers.annotated import Read, read

from xlasr.data import Corpus, prepare
from xlasr.data.audio import write_wav
from xlasr.data.faces import write_video
from xlasr.data.readers import guess_reader
from xlasr.errors import DataError, UsageError


def spoken(path: Path, text: str, seconds: float = 1.0, seed: int = 0) -> Path:
    av_clip(path, seconds, seed=seed)
    words = "\n\nWORD START END ASDSCORE\nNO: 0.1 0.2 3.0\n"
    path.with_suffix(".txt").write_text(f"Text:  {text}\nConf:  4\nRef:   abc{words}")
    return path


def sides(result: Read) -> dict[str, str | None]:
    return {record.id: record.split for record in result.records}


@pytest.fixture
def lrs3(tmp_path: Path) -> Path:
    root = tmp_path / "lrs3"
    for i in range(4):
        part = "pretrain" if i % 2 else "trainval"
        spoken(root / part / f"vid{i}" / "00001.mp4", f"LINE NUMBER {i}", 1 + i / 5, i)
    spoken(root / "trainval/vid0/00002.mp4", "SAME VIDEO")
    spoken(root / "test/vid9/50001.mp4", "TEST: A LINE")
    return root


def test_lrs3(lrs3: Path) -> None:
    assert guess_reader(lrs3) == guess_reader(lrs3 / "trainval") == "lrs3"
    result = read("lrs3", lrs3)
    assert not result.reasons
    texts = {record.id: record.text for record in result.records}
    assert texts["pretrain/vid1/00001"] == "LINE NUMBER 1"
    assert texts["test/vid9/50001"] == "TEST: A LINE"
    assert all(r.video == r.audio and r.group == r.video.parent.name for r in result.records)
    assert result.records[0].custom == {"conf": "4", "ref": "abc"}
    chosen = sides(result)
    assert chosen["test/vid9/50001"] == "test"
    assert set(chosen.values()) == {"train", "dev", "test"}
    assert list(chosen.values()).count("test") == 1
    assert chosen["trainval/vid0/00001"] == chosen["trainval/vid0/00002"]
    # training alone prescribes nothing
    assert set(sides(read("lrs3", lrs3 / "trainval")).values()) == {None}


def test_lrs3_with_a_dev_of_its_own(lrs3: Path) -> None:
    spoken(lrs3 / "dev/vid7/00001.mp4", "DEV")
    chosen = sides(read("lrs3", lrs3))
    assert chosen["dev/vid7/00001"] == "dev"
    assert list(chosen.values()).count("train") == 5


def test_lrs3_lists_what_it_cannot_use(lrs3: Path) -> None:
    (lrs3 / "trainval/vid0/00001.txt").unlink()
    (lrs3 / "trainval/vid0/00003.txt").write_text("Text: ALONE\n")
    (lrs3 / "trainval/vid2/00001.txt").write_text("SAID WITHOUT A KEY\n")
    (lrs3 / "pretrain/vid1/00001.txt").write_bytes(b"Text: \xff\xfe\n")
    result = read("lrs3", lrs3)
    assert sorted(result.reasons) == [
        ("pretrain/vid1/00001", "bad encoding"),
        ("trainval/vid0/00001", "missing text"),
        ("trainval/vid0/00003", "missing video"),
        ("trainval/vid2/00001", "bad transcript"),
    ]
    assert len(result.records) == 3
    with pytest.raises(DataError, match="no video in it"):
        read("lrs3", (lrs3 / "none"))


def test_voxceleb2(tmp_path: Path) -> None:
    root = tmp_path / "vox2"
    for i in range(3):
        place = f"id0001{i}/VIDEO/00001"
        av_clip(root / f"dev/mp4/{place}.mp4", 1.0, seed=i)
        sound = root / f"dev/aac/{place}.m4a"
        sound.parent.mkdir(parents=True)
        write_video(sound, [], tiny.clip(1.0, i + 10))
    av_clip(root / "test/mp4/id00020/VIDEO/00007.mp4", 1.0)  # the sound is in the video
    alone = root / "dev/aac/id00010/VIDEO/00002.m4a"
    write_video(alone, [], tiny.clip(1.0))
    av_clip(root / "dev/mp4/nobody/00001.mp4")
    assert guess_reader(root) == guess_reader(root / "dev") == "voxceleb2"
    result = read("voxceleb2", root)
    assert result.reasons == [
        ("dev/mp4/nobody/00001.mp4", "bad row"),
        ("dev/aac/id00010/VIDEO/00002.m4a", "missing video"),
    ]
    by_id = {record.id: record for record in result.records}
    assert sorted(by_id) == [*(f"dev/id0001{i}/VIDEO/00001" for i in range(3)),
                             "test/id00020/VIDEO/00007"]  # fmt: skip
    one = by_id["dev/id00011/VIDEO/00001"]
    assert one.audio == root / "dev/aac/id00011/VIDEO/00001.m4a"
    assert one.video == root / "dev/mp4/id00011/VIDEO/00001.mp4"
    assert one.speaker == one.group == "id00011" and one.text == ""
    assert by_id["test/id00020/VIDEO/00007"].audio.suffix == ".mp4"
    # what the release calls dev is train; one speaker of it is ours
    assert sorted(map(str, sides(result).values())) == ["dev", "test", "train", "train"]
    with pytest.raises(DataError, match="not a folder"):
        read("voxceleb2", alone)


def test_kinetics(tmp_path: Path) -> None:
    root = tmp_path / "k600"
    names = [
        "train/abseiling/-3B32lodo2M_000059_000069",
        "train/abseiling/-3B32lodo2M_000070_000080",
        "train/air drumming/a_b_c_d_e_f_000001_000011",
        "val/archery/0123456789a_000000_000010",
        "test/0123456789b_000000_000010",
    ]
    for name in names:
        av_clip(root / f"{name}.mp4", 0.4)
    assert guess_reader(root) == "kinetics"
    result = read("kinetics", root)
    by_id = {record.id: record for record in result.records}
    assert sorted(by_id) == sorted(names)
    assert [by_id[n].split for n in names] == ["train", "train", "train", "dev", "test"]
    assert by_id[names[0]].group == by_id[names[1]].group == "-3B32lodo2M"
    assert by_id[names[2]].group == "a_b_c_d_e_f"
    assert [by_id[n].custom.get("label") for n in names] == [
        "abseiling", "abseiling", "air drumming", "archery", None,
    ]  # fmt: skip


def spoiled(root: Path) -> Path:
    """A part of Kinetics with one clip of each defect and three good ones."""
    for i in range(3):
        av_clip(root / f"good{i}.mp4", 1.0, seed=i)
    write_video(root / "mute.mp4", greys(25), None)
    write_video(root / "blind.mp4", [], tiny.clip(1.0))
    write_video(root / "still.mp4", greys(1), tiny.clip(1.0))
    write_video(root / "silent.mp4", greys(25), np.zeros(16_000, np.float32))
    (root / "text.mp4").write_text("404 Not Found")
    good = (root / "good0.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(good[: len(good) // 2])
    write_video(root / "short-sound.mp4", greys(50, step=2), tiny.clip(0.8))
    write_video(root / "short-video.mp4", greys(20), tiny.clip(2.0))
    return root


def test_defects_are_listed_with_reasons_and_the_rest_is_a_corpus(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    made = prepare(
        spoiled(root), tmp_path / "c", language="en", reader="kinetics", progress=False,
        ratios={"train": 1},
    )  # fmt: skip
    told = {}
    for line in (made.path / "quarantine.jsonl").read_text().splitlines():
        entry = json.loads(line)
        told[entry["record"]] = entry["reason"], entry["detail"]
    reasons = {record: reason for record, (reason, _) in told.items()}
    assert reasons == {
        "mute": "bad audio", "blind": "bad video", "still": "bad video", "silent": "silent audio",
        "text": "bad audio", "cut": "bad audio",
    }  # fmt: skip
    assert "holds no audio track" in told["mute"][1]
    assert "holds no video track" in told["blind"][1] and "1 picture" in told["still"][1]
    utterances = {u.id: u for u in made.split("train")}
    assert set(utterances) == {"good0", "good1", "good2", "short-sound", "short-video"}
    notes = (made.path / "notes.jsonl").read_text()
    assert notes.count("unequal length") == 2 and "good" not in notes
    longer = utterances["short-sound"].video
    assert longer is not None and longer.seconds == pytest.approx(2.0)
    shorter = utterances["short-video"].video
    assert shorter is not None and shorter.seconds == pytest.approx(0.8)
    assert len(utterances["short-video"].load()) >= 32_000


def test_a_corpus_with_video_on_disk(lrs3: Path, tmp_path: Path) -> None:
    made = prepare(lrs3, tmp_path / "c", language="en", progress=False)
    one = next(iter(made.split("test")))
    assert one.video is not None and one.video.path == lrs3 / "test/vid9/50001.mp4"
    assert one.video.start_s == 0.0 and one.video.seconds == pytest.approx(1.0)
    assert one.custom["video_frames"] == 25 and len(one.custom["video_sha256"]) == 64
    manifest = (made.path / "test.jsonl").read_text()
    assert '"video": "../lrs3/test/vid9/50001.mp4"' in manifest  # corpus and video move together
    cut = next(iter(CutSet.from_file(made.path / "test.jsonl")))
    assert cut.custom["video_s"] == pytest.approx(1.0)
    (tmp_path / "moved").mkdir()
    shutil.move(lrs3, tmp_path / "moved" / "lrs3")
    shutil.move(made.path, tmp_path / "moved" / "c")
    moved = next(iter(Corpus.open(tmp_path / "moved" / "c").split("test")))
    assert moved.video is not None and moved.video.path.is_file()
    # another picture in the same place is another corpus
    av_clip(tmp_path / "moved/lrs3/test/vid9/50001.mp4", 1.0, size=48)
    again = prepare(tmp_path / "moved/lrs3", tmp_path / "again", language="en", progress=False)
    assert again.sha256 != made.sha256


def test_video_in_an_archive_is_refused(lrs3: Path, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", lrs3)
    with pytest.raises(UsageError, match="its video lies inside an archive"):
        prepare(packed, tmp_path / "c", language="en", progress=False)


def test_clips_without_video_have_none(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tiny.clip(1.0))
    (tmp_path / "t.csv").write_text("audio,text,video\na.wav,ahoj,tape 4\n")
    made = prepare(tmp_path / "t.csv", tmp_path / "c", language="cs", progress=False)
    (one,) = made.split("train")
    assert one.video is None and one.custom["video"] == "tape 4"  # somebody's own column
