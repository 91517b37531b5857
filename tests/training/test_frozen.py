"""What is frozen is computed once: the same numbers, from the disk, within a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from tests import tiny
from torch import Tensor

from xlasr import api
from xlasr.models.encoders import (
    Context,
    Features,
    SelfSupervisedEncoder,
    WhisperSpeechEncoder,
)
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training import recipe as recipes
from xlasr.training.engine import Trainer
from xlasr.training.frozen import FrozenCache

TEXTS = ["abc", "fade", "bad cab", "e"]


def ctc_model(base: Path) -> SpeechModel:
    letters = CharTokenizer(list(small.LETTERS))
    torch.manual_seed(0)
    return from_base(
        find_base(str(base)), "ctc", context=Context(8, 8), language="cs", alphabet=letters
    ).eval()


@pytest.fixture(params=["whisper", "wav2vec2"])
def model(request: pytest.FixtureRequest) -> SpeechModel:
    return ctc_model(request.getfixturevalue(f"{request.param}_dir"))


def features_of(model: SpeechModel, texts: list[str]) -> Features:
    return model.features([small.tones(t, seed=len(t)) for t in texts], None)


def cache_in(folder: Path, layer: int, limit: int = 1 << 30, key: str = "a") -> FrozenCache:
    return FrozenCache(folder, {"weights": key}, layer, limit)


@torch.no_grad()
def test_equal_to_computing_and_the_same_bits_in_every_batch(
    model: SpeechModel, tmp_path: Path
) -> None:
    encoder = model.encoder
    cache = cache_in(tmp_path, encoder.n_layers)
    features = features_of(model, TEXTS)
    names = [f"0-{i}" for i in range(4)]
    found = cache.states(model, features, names)
    assert (cache.hits, cache.misses) == (0, 4)
    computed = encoder(features)
    upper = encoder.upper(found, encoder.n_layers, features)
    for row, length in enumerate(model.out_lens(features.input_lens).tolist()):
        torch.testing.assert_close(
            upper[row, :length], computed[row, :length], rtol=2e-3, atol=2e-3
        )
    again = cache.states(model, features, names)
    assert (cache.hits, cache.misses) == (4, 4)
    assert torch.equal(again, found)
    # another batch, in another order, in another process
    other = cache_in(tmp_path, encoder.n_layers)
    if model.encoder.max_positions is None:
        pair = features_of(model, [TEXTS[3], TEXTS[1]])
    else:  # the context is part of what was computed
        pair = Features(features.values[[3, 1]], features.input_lens[[3, 1]])
    mixed = other.states(model, pair, ["0-3", "0-1"])
    assert (other.hits, other.misses) == (2, 0)
    for row, source in enumerate((3, 1)):
        length = int(model.out_lens(pair.input_lens)[row])
        assert torch.equal(mixed[row, :length], found[source, :length])
    assert other.bytes == cache.bytes == sum(p.stat().st_size for p in cache.folder.iterdir())


@torch.no_grad()
def test_cut_inside_the_encoder(whisper_dir: Path, tmp_path: Path) -> None:
    model = ctc_model(whisper_dir)
    features = features_of(model, TEXTS)
    states = cache_in(tmp_path, 1).states(model, features, list("abcd"))
    upper = model.encoder.upper(states, 1, features)
    torch.testing.assert_close(upper, model.encoder(features), rtol=2e-3, atol=2e-3)
    whole = cache_in(tmp_path, 1, key="b").states(model, features, list("abcd"))
    assert torch.equal(whole, states)


def test_another_context_or_key_is_another_file(whisper_dir: Path, tmp_path: Path) -> None:
    model = ctc_model(whisper_dir)
    cache = cache_in(tmp_path, 2)
    clip = [small.tones("abc")]
    with torch.no_grad():
        for positions in (40, 48):
            states = cache.states(model, model.features(clip, positions), ["x"])
            assert states.shape == (1, positions, 16)
        assert cache.misses == 2
        cache.states(model, model.features(clip, 56), ["x"], keep=False)
    assert len(list(cache.folder.iterdir())) == 2
    assert cache_in(tmp_path, 2, key="b").folder != cache.folder


@torch.no_grad()
def test_limit_is_kept_and_changes_no_number(model: SpeechModel, tmp_path: Path) -> None:
    layer = model.encoder.n_layers
    features = features_of(model, TEXTS)
    free = cache_in(tmp_path / "free", layer)
    wanted = free.states(model, features, list("abcd"))
    tight = cache_in(tmp_path / "tight", layer, limit=free.bytes // 2)
    for _ in range(2):
        assert torch.equal(tight.states(model, features, list("abcd")), wanted)
    assert 0 < tight.hits < 4
    held = sum(p.stat().st_size for p in tight.folder.iterdir())
    assert 0 < held <= free.bytes // 2
    full = cache_in(tmp_path / "tight", layer, limit=held)  # what lies there counts
    full.states(model, features, ["e", "f", "g", "h"])
    assert sum(p.stat().st_size for p in tight.folder.iterdir()) == held


@torch.no_grad()
def test_damage_and_a_full_disk_cost_time_and_nothing_else(
    model: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = model.encoder.n_layers
    features = features_of(model, TEXTS[:2])
    cache = cache_in(tmp_path, layer)
    wanted = cache.states(model, features, ["a", "b"])
    for path in cache.folder.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(cache.states(model, features, ["a", "b"]), wanted)
    assert torch.equal(cache.states(model, features, ["a", "b"]), wanted)
    assert (cache.hits, cache.misses) == (2, 4)  # mended by the second pass

    def no_space(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    other = cache_in(tmp_path, layer, key="full")
    assert torch.equal(other.states(model, features, ["a", "b"]), wanted)
    assert list(other.folder.iterdir()) == []


def test_states_too_large_for_half_precision(
    whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ctc_model(whisper_dir)
    large = torch.full((1, 4, 16), 1e6)
    monkeypatch.setattr(WhisperSpeechEncoder, "lower", lambda *_: large)
    cache = cache_in(tmp_path, 2)
    features = features_of(model, ["abc"])
    for _ in range(2):
        assert torch.equal(cache.states(model, features, ["a"]), large)


# ---- in a run


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Clips whose frozen part was computed in training."""
    clips: list[int] = []
    with monkeypatch.context() as patch:
        for kind in (WhisperSpeechEncoder, SelfSupervisedEncoder):

            def lower(self: Any, features: Features, last: int, real: Any = kind.lower) -> Tensor:
                clips.append(len(features.values))
                return real(self, features, last)  # type: ignore[no-any-return]

            patch.setattr(kind, "lower", lower)
        yield clips


def adapt(
    base: Path, corpus: Path, out: Path, family: str = "ctc", seed: int = 0, **changes: Any
) -> api.Run:
    changes = {"stop": {"epochs": 3}, "evaluate": {"every": 50}, **changes}
    plan = small.recipe(
        family,
        small.stage(family, **changes),
        context={"slack": 8, "multiple": 8, "full_share": 0.0},
    )
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1, seed=seed)


def weights(run: api.Run) -> dict[str, Tensor]:
    return run.model.state_dict()


@pytest.mark.parametrize(
    ("name", "family", "train"),
    [
        ("whisper", "ctc", {"part": "head"}),
        ("whisper", "ctc", {"part": "layers", "top_layers": 1}),
        ("whisper", "seq2seq", {"part": "head"}),
        ("wav2vec2", "ctc", {"part": "head"}),
    ],
)
def test_every_clip_is_computed_once_and_the_result_is_as_without(
    tmp_path: Path,
    speech: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    family: str,
    train: dict[str, Any],
) -> None:
    # no dropout: it would be off below the cut and on in the run without a cache
    make = small.write_whisper if name == "whisper" else small.write_wav2vec2
    base = make(tmp_path / "base", dropout=0.0)
    with counted(monkeypatch) as clips:
        run = adapt(base, speech, tmp_path / "cached", family, train=train)
        assert sum(clips) == len(small.TRAIN)  # of three epochs
        wider = {"lr": 2e-3}
        adapt(base, speech, tmp_path / "lr", family, train=train, optim=wider, seed=1)
        assert sum(clips) == len(small.TRAIN)  # another run reads what the first one wrote
    layers = {"head": 2, "layers": 1}[train["part"]]
    assert run.summaries[0]["frozen_cache"]["layer"] == layers
    assert run.summaries[0]["frozen_cache"]["bytes"] > 0

    monkeypatch.setattr(recipes, "_cache_for", lambda *_: None)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    with counted(monkeypatch) as clips:
        plain = adapt(base, speech, tmp_path / "plain", family, train=train)
        assert not clips
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(run)[key], value, rtol=0, atol=2e-3)
    losses = [[r["dev_loss"] for r in each.metrics if "dev_loss" in r] for each in (run, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    began = ctc_model(base).state_dict() if family == "ctc" else None
    if began is not None:
        frozen = [k for k in began if k.startswith("encoder.") and ".layers.1." not in k]
        trained_too = "encoder.hf.layer_norm"
        for key in frozen:
            if train["part"] == "head" or not key.startswith(trained_too):
                assert torch.equal(weights(run)[key], began[key]), key


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
@pytest.mark.parametrize(
    "changes",
    [
        {"augment": {"speed": [0.9, 1.0]}},
        {"augment": {"noise": {}}},
        {"augment": {"codec": {}}},
        {"augment": {"spec": {}}},
        {"train": {"part": "full"}},
        {"train": {"part": "full", "unfreeze_at": 0.5}},
        {"train": {"part": "lora", "lora": {"r": 2}}},
        {"train": {"part": "layers", "top_layers": 2}},
    ],
    ids=str,
)
def test_no_cache_where_the_input_changes_or_nothing_is_frozen(
    whisper_dir: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    changes = {"train": {"part": "head"}, "stop": {"updates": 1}, **changes}
    with counted(monkeypatch) as clips:
        run = adapt(whisper_dir, speech, tmp_path / "run", **changes)
    assert run.summaries[0]["frozen_cache"] is None
    assert not clips
    assert not list((tmp_path / "cache").glob("frozen/*/*"))


def test_upper_layers_of_a_self_supervised_base_have_no_cache(
    wav2vec2_dir: Path, speech: Path, tmp_path: Path
) -> None:
    train = {"part": "layers", "top_layers": 1}
    run = adapt(wav2vec2_dir, speech, tmp_path / "run", train=train, stop={"updates": 1})
    assert run.summaries[0]["frozen_cache"] is None


def test_recipes_that_leave_out_different_clips_share_no_wrong_state(
    whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CTC leaves the first clip out (no frames for its letters), Whisper trains on it."""
    audio = tmp_path / "audio"
    audio.mkdir()
    crowded = small.utterance(audio, "crowded", "abcdef", small.tones("a")[:1000])
    corpus = small.write_speech(tmp_path / "corpus", train=[crowded, *small.TRAIN]).path
    head = {"part": "head"}
    first = adapt(whisper_dir, corpus, tmp_path / "ctc", train=head)
    assert first.summaries[0]["train_clips"] == len(small.TRAIN)
    shared = adapt(whisper_dir, corpus, tmp_path / "shared", "seq2seq", train=head)
    assert shared.summaries[0]["train_clips"] == len(small.TRAIN) + 1
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    alone = adapt(whisper_dir, corpus, tmp_path / "alone", "seq2seq", train=head)
    for key, value in weights(alone).items():
        assert torch.equal(weights(shared)[key], value), key


@pytest.mark.parametrize(
    ("first", "second"),
    [({"seed": 1}, {}), ({}, {"reset": {"encoder": [0]}}), ({"data": [{"minutes": 0.05}]}, {})],
    ids=str,
)
def test_states_that_the_base_does_not_tell_are_not_shared(
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    second: dict[str, Any],
) -> None:
    """Weights drawn by the run, and frames measured by it, on a base of random weights."""
    base = tiny.audiovisual_dir(tmp_path / "base")
    head = {"train": {"part": "head"}, "stop": {"updates": 4}}
    adapt(base, speech, tmp_path / "first", **head, **first)
    shared = adapt(base, speech, tmp_path / "shared", **head, **second)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    alone = adapt(base, speech, tmp_path / "alone", **head, **second)
    for key, value in weights(alone).items():
        assert torch.equal(weights(shared)[key], value), key


def test_limit_of_a_run(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = adapt(whisper_dir, speech, tmp_path / "free", train={"part": "head"})
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    monkeypatch.setattr(recipes, "FROZEN_CACHE_BYTES", 6000)
    tight = adapt(whisper_dir, speech, tmp_path / "tight", train={"part": "head"})
    files = list((tmp_path / "cache2").glob("frozen/*/*.safetensors"))
    assert 0 < len(files) < len(small.TRAIN)
    assert sum(p.stat().st_size for p in files) <= 6000
    for key, value in weights(free).items():
        assert torch.equal(weights(tight)[key], value), key


def test_random_contexts_are_not_written_down(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: set[int] = set()
    real: Callable[..., Any] = Trainer._batch_loss

    def spy(self: Trainer, batch: Any) -> Any:
        contexts.add(batch.positions)
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_batch_loss", spy)
    plan = small.recipe(
        "ctc",
        small.stage("ctc", train={"part": "head"}, stop={"epochs": 4}, evaluate={"every": 99}),
        context={"slack": 8, "multiple": 8, "full_share": 0.7},
    )
    api.adapt(speech, base=str(whisper_dir), recipe=plan, out=tmp_path / "run", threads=1)
    odd = {c for c in contexts if c % 8 and c != 150}
    assert odd
    written = {
        int(p.stem.split("-")[2]) // 2 for p in (tmp_path / "cache").glob("frozen/*/*.safetensors")
    }
    assert written == contexts - odd
    assert 150 in written
