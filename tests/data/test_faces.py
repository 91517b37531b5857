"""Synthetic faces: the mouth follows the speech as far as the tie says, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xlasr.data import Card, Corpus, Utterance, prepare, write_corpus
from xlasr.data.audio import decode, write_wav
from xlasr.data.faces import FPS, MARK, Canvas, face_rng, render, render_faces
from xlasr.data.mouths import drift, mouth_of_speech
from xlasr.data.video import frames_at, measure
from xlasr.errors import UnknownName, UsageError

Samples = np.ndarray


def syllables(seconds: float = 6.0, seed: int = 0) -> Samples:
    """Loud and silent stretches of noise in turns of irregular length."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.12, 0.4, 100)
    loud = np.repeat(np.arange(100) % 2, (lengths * 16_000).astype(int))[: int(seconds * 16_000)]
    return (0.3 * loud * rng.standard_normal(len(loud))).astype(np.float32)


def vowel(hertz: float, seconds: float = 1.0) -> Samples:
    """Noise around a first formant and one other."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    tones = np.sin(2 * np.pi * 400 * t) + np.sin(2 * np.pi * hertz * t)
    return (0.2 * tones).astype(np.float32)


def darkness_of_mouth(frames: list[np.ndarray]) -> np.ndarray:
    """Share of nearly black pixels in the lower half: the open mouth."""
    lower = np.stack(frames)[:, 48:].astype(int)
    return np.asarray((lower.max(-1) < 70).mean((1, 2)))


def test_opening_is_energy_and_width_is_the_second_formant() -> None:
    loud = np.repeat([0.0, 1.0, 0.0, 1.0], 8000)
    samples = (0.3 * loud * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    mouth = mouth_of_speech(samples, 50, 25.0)
    assert mouth.shape == (50, 2) and mouth.min() >= 0 and mouth.max() <= 1
    assert mouth[3:10, 0].max() < 0.05 and mouth[15:22, 0].min() > 0.8  # half a second each
    assert mouth[28:35, 0].max() < 0.05 and mouth[40:48, 0].min() > 0.8
    spread, rounded = (mouth_of_speech(vowel(f), 25, 25.0)[5:20, 1].mean() for f in (2200, 800))
    assert spread > 0.9 and rounded < 0.1
    assert mouth_of_speech(np.zeros(16_000, np.float32), 25, 25.0)[:, 0].std() == 0


def test_the_tie_says_how_much_is_followed() -> None:
    found = {}
    for tie in ("strong", "medium", "weak"):
        agreement = []
        for seed in (0, 1):  # faces with fair skin, on which nothing but the mouth is black
            samples = syllables(4.0, seed)
            frames = list(render(samples, face_rng(seed, "a"), tie))
            energy = mouth_of_speech(samples, len(frames), FPS)[:, 0]
            agreement.append(np.corrcoef(darkness_of_mouth(frames), energy)[0, 1])
        found[tie] = float(np.mean(agreement))
    assert found["strong"] > 0.9
    assert found["strong"] > found["medium"] + 0.05 and found["medium"] > found["weak"] + 0.1
    assert found["weak"] > 0.1


def test_what_is_no_mouth_does_not_know_the_speech() -> None:
    one, other = (list(render(syllables(seed=s), face_rng(0, "a"), "strong")) for s in (1, 2))
    lower, upper = (np.stack(one)[:, k].astype(int) - np.stack(other)[:, k] for k in
                    (slice(40, 96), slice(0, 36)))  # fmt: skip
    assert np.abs(lower).max() > 60 and not upper.any()  # same seed: same face, light, blinks


def test_faces_and_seeds_differ() -> None:
    samples = syllables(1.0)
    one, again, other, seeded = (
        np.stack(list(render(samples, face_rng(seed, name), "strong", 64)))
        for seed, name in [(0, "a"), (0, "a"), (0, "b"), (1, "a")]
    )
    assert one.shape == (25, 64, 64, 3)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10
    assert np.abs(one.astype(int) - seeded).mean() > 10
    walk = drift(np.random.default_rng(0), 1000, 25, 0.5)
    assert abs(walk.mean()) < 0.3 and 0.3 < walk.std() < 0.8 and np.abs(np.diff(walk)).max() < 0.4
    assert len(list(render(np.zeros(1, np.float32), face_rng(0, "a"), "weak", 32))) == 1


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for i, side in enumerate(["train"] * 3 + ["dev"] * 2 + ["test"]):
        path = tmp_path / f"s{i}.wav"
        write_wav(path, syllables(1.0 + i / 5, seed=i))
        group = f"Scéna {side} {i % 2}"
        splits[side].append(
            Utterance(f"id/{i}", path, 0.0, 1.0 + i / 5, f"Věta číslo {i}: ano.", "cs", "x", group)
        )
    return write_corpus(
        tmp_path / "c", splits, Card("cs", licence="GPL-2.0", attribution="the voices of Scéna")
    )


def test_a_corpus_of_faces_is_read_as_lrs3(corpus: Corpus, tmp_path: Path) -> None:
    out = render_faces(corpus.path, tmp_path / "faces", size=48, tie="medium", seed=3)
    about = json.loads((out / "faces.json").read_text())
    assert about["synthetic"] == MARK and "SYNTHETIC" in MARK and about["clips"] == 6
    assert (about["tie"], about["seed"], about["size"]) == ("medium", 3, 48)
    assert about["corpus_sha256"] == corpus.sha256
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.mp4"))
    assert len(files) == 6 and {f.split("/")[0] for f in files} == {"trainval", "dev", "test"}
    made = prepare(out, tmp_path / "av", language="cs", progress=False)
    assert made.card.quarantined == {} and made.splits == ["train", "dev", "test"]
    assert made.card.licence == "GPL-2.0"  # of the speech
    assert made.card.attribution == f"{MARK}, tie medium, seed 3; the voices of Scéna"
    for side in made.splits:
        before = {u.id: u for u in corpus.split(side)}
        after = list(made.split(side))
        assert {u.custom["source_id"] for u in after} == set(before)
        for u in after:
            origin = before[u.custom["source_id"]]
            assert u.text == origin.text and "SYNTHETIC" in u.custom["synthetic_video"]
            assert u.video is not None and u.video.seconds == pytest.approx(origin.duration_s)
            assert measure(u.video.path).n_frames == round(origin.duration_s * FPS)
            assert frames_at(u.video.path, [0.5]).shape == (1, 48, 48, 3)
            heard, said = u.load()[: int(16_000 * origin.duration_s)], origin.load()
            assert np.corrcoef(heard, said)[0, 1] > 0.9  # AAC of noise; no shift
    groups = {side: {u.group for u in made.split(side)} for side in made.splits}
    assert not groups["train"] & groups["dev"] and len(groups["train"]) == 2


def test_rendering_again_gives_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    one = render_faces(corpus.path, tmp_path / "a", size=32, workers=1, progress=False)
    two = render_faces(corpus.path, tmp_path / "b", size=32, workers=3, progress=False)
    files = sorted(p.relative_to(one) for p in one.rglob("*.*"))
    assert len(files) == 13 and files == sorted(p.relative_to(two) for p in two.rglob("*.*"))
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
    video = next(one.rglob("*.mp4"))
    assert decode(video).std() > 0.01
    import av

    with av.open(str(video)) as opened:
        assert opened.metadata["comment"] == MARK


def test_bad_requests(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'strang'.*Did you mean 'strong'"):
        render_faces(corpus.path, tmp_path / "a", tie="strang")
    for size in (33, 0, 16):
        with pytest.raises(UsageError, match="an even number, at least 32"):
            render_faces(corpus.path, tmp_path / "a", size=size)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        render_faces(corpus.path, tmp_path / "taken")
    assert not (tmp_path / "a").exists()


def test_only_the_box_around_an_ellipse_is_painted() -> None:
    """What lies outside the box has nothing of it: the same as painting the whole picture."""
    rng = np.random.default_rng(3)
    for size in (32, 50):
        line = (np.arange(size) + 0.5) * 2 / size - 1
        for _ in range(40):
            x, y = rng.uniform(-1.5, 1.5, (2, 4))
            rx, ry = rng.uniform(0.005, 0.7, (2, 4))
            roll = rng.uniform(-2, 2, 4)
            (_, rows, columns), share = Canvas(size).ellipse(x, y, rx, ry, roll)
            found = np.zeros((4, size, size))
            found[:, rows, columns] = share
            for i in range(4):
                dx, dy = np.meshgrid(line - x[i], line - y[i])
                across = dx * np.cos(roll[i]) + dy * np.sin(roll[i])
                down = dy * np.cos(roll[i]) - dx * np.sin(roll[i])
                far = np.hypot(across / rx[i], down / ry[i])
                wanted = np.clip((1 - far) * min(rx[i], ry[i]) * size / 2 + 0.5, 0, 1)
                np.testing.assert_allclose(found[i], wanted, atol=1e-4)
