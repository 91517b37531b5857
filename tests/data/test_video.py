"""Pictures at times: variable rates, turned pictures, the clock of the sound, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.data.clips import av_clip, delayed, greys, timed, turn

from xlasr.data.faces import write_video
from xlasr.data.video import frames_at, measure
from xlasr.errors import VideoError


def grey(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


def near(found: list[int], wanted: list[int]) -> bool:
    return len(found) == len(wanted) and max(np.abs(np.subtract(found, wanted))) <= 3


def test_pictures_are_found_by_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, greys(10), None)
    facts = measure(path)
    assert (facts.n_frames, facts.width, facts.height) == (10, 32, 32)
    assert facts.seconds == pytest.approx(0.4)
    # each picture is on the screen for 40 ms; before the first is the first, behind the last the
    # last
    times = [0.0, 0.039, 0.04, 0.2, 0.2, 0.35, 0.36, 9.0]
    assert near(grey(frames_at(path, times)), [20, 20, 28, 60, 60, 84, 92, 92])
    assert near(grey(frames_at(path, [0.36])), [92])


def test_a_variable_frame_rate_is_read_by_times(tmp_path: Path) -> None:
    path = timed(tmp_path / "a.mkv", greys(4, step=40), [0, 500, 520, 2000])
    assert measure(path).n_frames == 4
    assert measure(path).seconds == pytest.approx(2.0, abs=1.6)
    found = grey(frames_at(path, [0.0, 0.49, 0.51, 0.53, 1.9, 2.0]))
    assert near(found, [20, 20, 60, 100, 100, 140])
    assert near(grey(frames_at(path, [-1.0, 3.0])), [20, 140])


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts", "mpg"])
def test_seeking_finds_what_decoding_finds(tmp_path: Path, kind: str) -> None:
    """Containers without an index land after what was sought, or behind the last picture."""
    path = tmp_path / f"a.{kind}"
    write_video(path, greys(100, step=2), tiny.clip(4.0))
    times = [2.5, 3.0, 3.2]
    whole = frames_at(path, [0.0, *times])[1:]
    np.testing.assert_array_equal(frames_at(path, times), whole)


@pytest.mark.parametrize("quarters", range(4))
def test_turned_pictures_come_out_upright(tmp_path: Path, quarters: int) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 240  # the upper left
    path = tmp_path / "a.mp4"
    write_video(path, [picture] * 3, None)
    turn(path, quarters)
    (found,) = frames_at(path, [0.0])
    assert found.shape == ((64, 32, 3) if quarters % 2 else (32, 64, 3))
    wanted = np.rot90(picture, -quarters)  # clockwise
    assert float(np.abs(found.astype(int) - wanted).mean()) < 8
    facts = measure(path)
    assert (facts.height, facts.width) == found.shape[:2]


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 64:] = 200
    write_video(path, [picture] * 2, None)
    (found,) = frames_at(path, [0.0], short_side=16)
    assert found.shape == (16, 32, 3)
    assert grey([found[:, :15], found[:, 17:]]) == pytest.approx([0, 200], abs=4)
    assert frames_at(path, [0.0], short_side=500).shape == (1, 64, 128, 3)


@pytest.mark.parametrize(
    ("later", "shift_s", "seconds", "greys_at_0_and_50_ms"),
    [("video", 1.0, 1.464, [20, 20]), ("audio", 0.2, 0.264, [44, 52])],
)
def test_time_begins_with_the_sound(
    tmp_path: Path, later: str, shift_s: float, seconds: float, greys_at_0_and_50_ms: list[int]
) -> None:
    """A copy in which one track begins later; Matroska keeps the 64 ms that AAC puts before."""
    whole = tmp_path / "a.mp4"
    write_video(whole, greys(10), tiny.clip(0.4))
    late = delayed(tmp_path / "late.mkv", whole, later, shift_s)
    assert measure(late).seconds == pytest.approx(seconds, abs=0.002)
    assert near(grey(frames_at(late, [0.0, 0.05])), greys_at_0_and_50_ms)


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    def told(path: Path, pattern: str) -> None:
        with pytest.raises(VideoError, match=pattern):
            measure(path)
        if "one picture" not in pattern and "1 picture" not in pattern:
            with pytest.raises(VideoError):
                frames_at(path, [0.0, 30.0])

    told(tmp_path / "none.mp4", "no such file")
    (tmp_path / "text.mp4").write_text("nothing")
    told(tmp_path / "text.mp4", "a text file")
    sound = tmp_path / "sound.mp4"
    write_video(sound, [], tiny.clip(0.5))
    told(sound, "no video track")
    still = tmp_path / "still.mp4"
    write_video(still, greys(1), tiny.clip(0.5))
    told(still, r"1 picture, and a video has two at least")
    good = av_clip(tmp_path / "good.mp4", 2.0)
    content = good.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    told(tmp_path / "cut.mp4", "no video that can be read")


def test_a_truncated_video_is_told_from_a_short_one(tmp_path: Path) -> None:
    """An MP4 whose index comes first, cut in the middle: FFmpeg just ends early."""
    import av

    good = tmp_path / "good.mp4"
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(50)]
    write_video(good, noise, None)
    fast = tmp_path / "fast.mp4"
    options = {"movflags": "faststart"}
    with av.open(str(good)) as source, av.open(str(fast), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert measure(fast).n_frames == 50
    content = fast.read_bytes()
    with av.open(str(fast)) as opened:
        ends = [packet.pos + packet.size for packet in opened.demux() if packet.size]
    fast.write_bytes(content[: ends[20]])  # between two pictures
    with pytest.raises(VideoError, match="announces 50 pictures and 21 are there"):
        measure(fast)
    fast.write_bytes(content[: ends[20] + 9])
    with pytest.raises(VideoError, match="damaged or truncated, decoding stopped"):
        measure(fast)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = av_clip(tmp_path / "a.mp4")
    monkeypatch.setattr("xlasr.data.video.MAX_PIXELS", 32 * 32 - 1)
    with pytest.raises(VideoError, match="pictures of 32 x 32 pixels"):
        measure(path)
