"""Stages on audio-visual clips: what is loaded, what is learnt, what is carried over to letters."""

from __future__ import annotations

import io
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from rich.console import Console
from safetensors.torch import load_file
from tests import tiny
from tests.data.clips import av_clip, delayed, greys, turn

from xlasr import api
from xlasr.config import AugmentSettings, CropSettings, Stage
from xlasr.data import Card, Corpus, Utterance, prepare, write_corpus
from xlasr.data.audio import write_wav
from xlasr.data.batches import PlanSettings, clip_rng, epoch_plan
from xlasr.data.faces import render_faces, write_video
from xlasr.data.quarantine import Quarantine
from xlasr.data.writing import staging, write_manifests
from xlasr.errors import ConfigError, DataError, UsageError
from xlasr.models.audiovisual_config import AudioVisualConfig
from xlasr.models.conformer import Conformer, ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training.clips import AudioVisualClip, ClipSet, stretches
from xlasr.training.sets import drop_unusable, open_set

CORNERS = [(0, 0), (0, 16), (16, 0), (16, 16)]
BOTH = [{"kind": "masked_autoencoder"}, {"kind": "contrastive"}]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYNTHETIC faces for speech of tones, prepared as LRS3 would be."""
    folder = tmp_path_factory.mktemp("clips")
    speech = small.write_speech(folder / "tones").path
    faces = render_faces(speech, folder / "faces", size=48, progress=False)
    return prepare(faces, folder / "corpus", language="cs", progress=False).path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.audiovisual_dir(tmp_path_factory.mktemp("base") / "av", dropout=0.1)


def model_of(**changes: Any) -> CTCModel:
    shape: dict[str, Any] = {"n_layers": 1, "hidden_size": 8, "n_heads": 2, "ffn_dim": 8}
    shape |= {"video_layers": 1, "video_dim": 8, "video_heads": 1, "decoder_layers": 1}
    shape |= {"decoder_dim": 8, "decoder_heads": 1, "frame_size": 32, "seconds": 2.0}
    encoder = ConformerEncoder(Conformer(AudioVisualConfig(**shape | changes)))
    encoder.hf.frame_count.fill_(1)
    return CTCModel(encoder, CharTokenizer([]), {})


def stage_of(**changes: Any) -> Stage:
    given = {"name": "av", "objectives": BOTH, "stop": {"updates": 1}}
    return Stage.model_validate(given | changes)


def stretched(folder: Path, lengths: dict[str, tuple[float, float]]) -> Corpus:
    """A corpus of clips whose (sound, pictures) last so many seconds."""
    source = folder / "source"
    source.mkdir(parents=True)
    for i, (name, (sound_s, video_s)) in enumerate(lengths.items()):
        frames = greys(round(video_s * 25), 32, step=1)
        write_video(source / f"{name}.mp4", frames, tiny.clip(sound_s, i))
    return prepare(
        source, folder / "c", language="en", reader="kinetics", progress=False, ratios={"train": 1}
    )


# --- the set --------------------------------------------------------------------------------


def test_lengths_that_differ(tmp_path: Path) -> None:
    lengths = {"even": (1.0, 1.0), "long": (3.0, 3.0), "blind": (1.2, 0.4), "mute": (0.4, 1.2)}
    corpus = stretched(tmp_path, lengths)
    data = stretches(open_set(corpus.split("train"), "headline"), model_of(), stage_of())
    assert isinstance(data, ClipSet)
    names = [data.split[int(row)].id for row in data.rows]  # type: ignore[union-attr]
    found = {}
    for at, name in enumerate(names):
        clip = data.item(at, 1.0, AugmentSettings(), np.random.default_rng(0))
        found[name] = round(len(clip) / 16_000, 1), len(clip.pictures)
        assert clip.pictures.shape[1:] == (32, 32, 3)
        assert len(data.samples(at)) == len(clip)
    # the sound stays whole up to 2 s; pictures as long as there are both, in whole tubelets
    assert {n: f[1] for n, f in found.items()} == {"even": 14, "long": 26, "blind": 6, "mute": 6}
    assert found["long"][0] == 2.0 and found["blind"][0] >= 1.2 and found["mute"][0] < 0.6
    durations = dict(zip(names, data.durations_s.tolist(), strict=True))
    assert durations["long"] == 2.0 and durations["even"] == pytest.approx(1.0, abs=0.1)
    # greys tell when: picture i of 12.5 a second is picture 2 i of 25
    at = names.index("even")
    clip = data.item(at, 1.0, AugmentSettings(), np.random.default_rng(0))
    greys = clip.pictures.mean((1, 2, 3))
    assert np.abs(greys - (20 + np.minimum(2 * np.arange(14), 24))).max() < 3


def test_turned_pictures_and_uneven_times(tmp_path: Path) -> None:
    """A telephone's clip and one of variable frame rate, from the files to what is learnt."""
    source = tmp_path / "source"
    source.mkdir()
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16] = 240  # the upper left, which a quarter turn brings to the upper right
    write_video(source / "turned.mp4", [picture] * 25, tiny.clip(1.0))
    turn(source / "turned.mp4", 1)
    whole = tmp_path / "whole.mp4"
    write_video(whole, greys(15, 32, step=10), tiny.clip(1.0, 1))
    delayed(source / "uneven.mkv", whole, "video", 0.4, after=5)
    corpus = prepare(
        source,
        tmp_path / "c",
        language="en",
        reader="kinetics",
        progress=False,
        ratios={"train": 1},
    )
    data = stretches(open_set(corpus.split("train"), "headline"), model_of(), stage_of())
    assert isinstance(data, ClipSet)
    clips = {
        data.split[int(row)].id: data.item(at, 1.0, AugmentSettings(), np.random.default_rng(0))  # type: ignore[union-attr]
        for at, row in enumerate(data.rows)
    }
    corners = [clips["turned"].pictures[:, y : y + 16, x : x + 16].mean() for y, x in CORNERS]
    assert corners[1] > 200 and max(corners[0], *corners[2:]) < 20
    # 12.5 a second of 25, 64 ms late (Matroska keeps what AAC puts before): pictures 0, 0, 2, 4,
    # the last of them through the pause of 0.4 s, then on
    found = clips["uneven"].pictures.mean((1, 2, 3))
    wanted = [20, 20, 40, *[60] * 6, 80, 100, 120]
    assert np.abs(found[: len(wanted)] - wanted).max() < 4, found


def test_features_of_a_batch(tmp_path: Path) -> None:
    corpus = stretched(tmp_path, {"a": (1.0, 1.0), "b": (0.5, 0.5)})
    model = model_of()
    data = stretches(open_set(corpus.split("train"), "headline"), model, stage_of())
    items = [data.item(at, 1.0, AugmentSettings(), np.random.default_rng(0)) for at in (0, 1)]
    features = data.features(model, items, 0, AugmentSettings(), [])
    assert features.video is not None and features.video_lens is not None
    order = sorted(features.video_lens.tolist())
    assert order == [6, 14] and features.video.shape == (2, 14, 32, 32, 3)
    assert features.video.dtype == torch.uint8 and features.values.shape[2] == 80
    row = features.video_lens.tolist().index(6)
    assert not features.video[row, 6:].any() and features.video[row, :6].any()
    moved = features.to(torch.device("cpu"))
    assert moved.video is not None and moved.video_lens is not None
    assert data.heard_s(items) == pytest.approx(sum(len(i) for i in items) / 16_000)


def test_crops_follow_the_generator(clips: Path) -> None:
    corpus = Corpus.open(clips)
    data = stretches(open_set(corpus.split("train"), "headline"), model_of(), stage_of())
    augment = AugmentSettings(crop=CropSettings(scale=(0.3, 0.6)))

    def item(epoch: int, how: AugmentSettings = augment) -> AudioVisualClip:
        found = data.item(0, 1.0, how, clip_rng(0, epoch, 0, 0))
        assert isinstance(found, AudioVisualClip)
        return found

    np.testing.assert_array_equal(item(1).pictures, item(1).pictures)
    assert np.abs(item(1).pictures.astype(int) - item(2).pictures).mean() > 5
    plain = [item(epoch, AugmentSettings()).pictures for epoch in (1, 2)]
    np.testing.assert_array_equal(*plain)


def test_a_stretch_from_anywhere(tmp_path: Path) -> None:
    corpus = stretched(tmp_path, {"long": (1.6, 1.6), "blind": (1.6, 0.8), "short": (0.4, 0.4)})
    crop = {"seconds": 0.48, "scale": [1, 1], "ratio": [1, 1], "flip": 0}
    stage = stage_of(augment={"crop": crop})
    data = stretches(open_set(corpus.split("train"), "headline"), model_of(), stage)
    lines = [data.split[int(row)] for row in data.rows]
    names = [line.id for line in lines]  # type: ignore[union-attr]
    assert data.durations_s.max() == np.float32(0.48)
    for name, latest_s in (("long", 1.12), ("blind", 0.33)):
        at, found = names.index(name), []
        whole = lines[at].load()  # type: ignore[union-attr]
        for seed in range(8):
            clip = data.item(at, 1.0, stage.augment, np.random.default_rng(seed))
            assert len(clip) == 7680 and len(clip.pictures) == 6
            first = int(np.correlate(whole, clip.samples, "valid").argmax())
            np.testing.assert_allclose(whole[first : first + 7680], clip.samples, atol=1e-4)
            found.append(first / 16_000)
            # a picture of 25 a second is a grey brighter than the one before it
            assert abs(clip.pictures[0].mean() - (20 + 25 * found[-1])) < 3
        assert max(found) <= latest_s + 0.01 and max(found) - min(found) > 0.1
    plain = data.item(names.index("long"), 1.0, AugmentSettings(), np.random.default_rng(0))
    assert abs(plain.pictures[0].mean() - 20) < 3  # dev hears the first of it
    short = data.item(names.index("short"), 1.0, stage.augment, np.random.default_rng(0))
    assert len(short) < 7680


def test_clips_without_pictures_are_left_out(clips: Path, tmp_path: Path) -> None:
    with_pictures = list(Corpus.open(clips).split("train"))
    write_wav(tmp_path / "a.wav", tiny.clip(1.0))
    alone = Utterance("alone", tmp_path / "a.wav", 0.0, 1.0, "abc", "cs", None, "g")
    mixed = write_corpus(tmp_path / "c", {"train": [*with_pictures, alone]}, Card(language="cs"))
    model, stage = model_of(), stage_of()
    data = stretches(open_set(mixed.split("train"), "headline"), model, stage)
    assert len(data.rows) == len(with_pictures) and data.left_out == {"no pictures": 1}
    assert drop_unusable(data, model, positions_wanted=2).left_out == {"no pictures": 1}
    only = write_corpus(tmp_path / "d", {"train": [alone]}, Card(language="cs"))
    opened = open_set(only.split("train"), "headline")
    with pytest.raises(DataError, match="no clip with pictures"):
        stretches(opened, model, stage)
    letters = Stage.model_validate({"name": "a", "objectives": [{"kind": "ctc"}],
                                    "stop": {"updates": 1}})  # fmt: skip
    assert stretches(opened, model, letters) is opened
    sound = {"kind": "masked_autoencoder", "autoencoder": {"video_weight": 0}}
    assert stretches(opened, model, stage_of(objectives=[sound])) is opened
    # the sound alone is cut as it is with pictures, or nobody could tell what these add
    cut = stage_of(objectives=[sound], augment={"crop": {"seconds": 0.48}})
    heard = stretches(mixed_set := open_set(mixed.split("train"), "headline"), model, cut)
    assert len(heard.rows) == len(mixed_set.rows) and heard.durations_s.max() == np.float32(0.48)
    begun = []
    for seed in range(4):
        found = heard.item(len(heard.rows) - 1, 1.0, cut.augment, np.random.default_rng(seed))
        begun.append(int(np.correlate(alone.load(), found, "valid").argmax()))
        assert len(found) == 7680
    assert len(set(begun)) > 1
    assert len(heard.samples(len(heard.rows) - 1)) == 7680


def peak_of_a_batch(path: Path) -> int:
    """Bytes allocated at most, from opening the set to the first batch of a plan."""
    corpus, model = Corpus.open(path), model_of()
    first = stretches(open_set(corpus.split("train"), "headline"), model, stage_of())
    first.item(0, 1.0, AugmentSettings(), np.random.default_rng(0))  # what is imported is not ours
    tracemalloc.start()
    data = stretches(open_set(corpus.split("train"), "headline"), model, stage_of())
    data = drop_unusable(data, model, positions_wanted=2)
    plan = epoch_plan(
        [data.durations_s], lambda s: np.full(len(s), 50, dtype=np.int64),
        PlanSettings(batch_s=10.0), seed=0, epoch=0,
    )  # fmt: skip
    for row in plan[0].rows.tolist():
        data.item(row, 1.0, AugmentSettings(), np.random.default_rng(0))
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.slow
def test_a_hundred_thousand_clips_are_a_manifest(tmp_path: Path) -> None:
    """Simulated: lines of a manifest, all of one file, as those of LRS3 would be."""
    n, path = 100_000, av_clip(tmp_path / "one.mp4", 1.0)
    write_wav(tmp_path / "one.wav", tiny.clip(1.0))
    extra = {"video": str(path), "video_start_s": 0.0, "video_s": 1.0, "video_sha256": "0" * 64}
    lines = (
        Utterance(f"{i:06d}", tmp_path / "one.wav", 0.0, 1.0, "", "en", None, str(i), custom=extra)
        for i in range(n)
    )
    with staging(tmp_path / "c", overwrite=False) as folder:
        write_manifests(folder, {"train": lines}, Card("en"), Quarantine(), has_text=False)
    corpus = Corpus.open(tmp_path / "c")
    assert (corpus.path / "train.jsonl").stat().st_size > 600 * n
    # by itself: what other tests have left running counts as well
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        used = alone.submit(peak_of_a_batch, corpus.path).result()
    # numbers in the index and the plan, 132 bytes at the peak; an utterance each would be over 600
    assert used < 200 * n


# --- runs -----------------------------------------------------------------------------------


def pretrain(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "clips",
        "objectives": BOTH,
        "stop": {"updates": 6},
        "augment": {"crop": {}},
        "batch_s": 5.0,
    }
    return small.stage("ctc", **given | changes)


def letters(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"init": "clips", "output": {"mode": "replace"}, "stop": {"updates": 3}}
    return small.stage("ctc", **given | changes)


def test_clips_then_letters(clips: Path, base: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    plan = small.recipe("ctc", pretrain(), letters())
    found = api.adapt(
        clips, base=str(base), recipe=plan, out=tmp_path / "run", threads=1, console=console
    )
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    first, second = found.summaries
    assert "dev_cer" not in first and 0 < first["dev_loss"] < 20
    assert "dev_cer" in second and "no pictures" not in shown
    for aid in ("video", "masked_autoencoder", "contrastive"):
        assert f"{aid} begins with new weights" in shown
        assert f"the weights that only {aid} needs are dropped" in shown
    stages = {p.name: load_file(p / "model" / "model.safetensors")
              for p in sorted((tmp_path / "run/stages").iterdir())}  # fmt: skip
    before, after = stages.values()
    assert any(k.startswith("aids.video.") for k in before)
    assert not any(k.startswith("aids.") for k in after)
    assert int(after["encoder.hf.frame_count"]) == int(before["encoder.hf.frame_count"]) > 100
    again = found.evaluate(split="dev", with_base=False)
    assert again.adapted.cer > 0
    # the finished run is a base of its own
    third = api.adapt(
        clips, base=str(found.folder), recipe=small.recipe("ctc", letters(init="base")),
        out=tmp_path / "again", threads=1,
    )  # fmt: skip
    assert third.summaries[0]["dev_cer"] <= 1.5


def test_what_is_killed_goes_on_bit_for_bit(
    clips: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlasr.errors import Interrupted
    from xlasr.training.engine import Trainer

    plan = small.recipe("ctc", pretrain(evaluate={"every": 2}))
    whole = api.adapt(clips, base=str(base), recipe=plan, out=tmp_path / "a", threads=1)
    real, calls = Trainer._update, []

    def dies(self: Trainer, batch: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", dies)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other"))
    with pytest.raises(Interrupted):
        api.adapt(clips, base=str(base), recipe=plan, out=tmp_path / "b", threads=1)
    resumed = api.adapt(None, resume=tmp_path / "b")
    one, two = (load_file(r.folder / "model" / "model.safetensors") for r in (whole, resumed))
    assert set(one) == set(two) and all(one[k].equal(two[k]) for k in one)


def test_bases_and_corpora_that_know_no_pictures(
    clips: Path, base: Path, speech: Path, wav2vec2_dir: Path, tmp_path: Path
) -> None:
    plan = small.recipe("ctc", pretrain())
    with pytest.raises(UsageError, match="contrastive, which is for bases that know pictures"):
        api.adapt(clips, base=str(wav2vec2_dir), recipe=plan, out=tmp_path / "a")
    with pytest.raises(DataError, match="no clip with pictures"):
        api.adapt(speech, base=str(base), recipe=plan, out=tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augment": {"speed": [0.9, 1.0]}}, "would part the sound from its pictures"),
        ({"augment": {"spec": {}}}, "augment.spec masks what"),
        ({"batch_clips": 1}, "batch_clips: 1 leaves nothing to be told from"),
        ({"objectives": [*BOTH, {"kind": "ctc"}]}, "belong in a stage of their own"),
        ({"objectives": [{"kind": "ctc"}]}, "augment.crop is for pictures"),
        ({"objectives": [{"kind": "masked_autoencoder", "autoencoder": {"mask_ratio": 0.0}}]},
         "greater than 0"),
        ({"objectives": [{"kind": "masked_autoencoder", "autoencoder": {"mask_ratio": 1.0}}]},
         "less than 1"),
        ({"objectives": [{"kind": "contrastive", "pairs": {"temperature": 0}}]}, "greater than 0"),
        ({"augment": {"crop": {"scale": [0.9, 0.1]}}}, "the smaller first"),
        ({"output": {"mode": "replace"}}, "is made of transcripts"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        small.recipe("ctc", pretrain(**changes))


def test_seq2seq_has_no_such_stage() -> None:
    with pytest.raises(ConfigError, match="masked_autoencoder needs the family 'ctc'"):
        small.recipe("seq2seq", pretrain(objectives=BOTH[:1]))
