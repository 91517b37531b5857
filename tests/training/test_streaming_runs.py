"""Runs on streaming encoders: from random weights or in chunks, saved, opened, gone on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from tests import tiny

from xlasr import api
from xlasr.data.corpus import Corpus
from xlasr.errors import BaseError, DataError
from xlasr.features.streaming import log_mel_frames
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context, WhisperSpeechEncoder
from xlasr.models.hub import RANDOM, find_base
from xlasr.models.run import from_base, load_model
from xlasr.models.streaming import EmformerEncoder, StreamingEncoder
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks
from xlasr.training.frames import measure_frames
from xlasr.training.sets import open_set


@pytest.fixture(scope="module")
def emformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.emformer_dir(tmp_path_factory.mktemp("emformer") / "base", left_positions=8)


def adapt(base: Path | str, speech: Path, out: Path, **changes: Any) -> api.Run:
    context = changes.pop("context", None)
    stage = small.stage("ctc", stop={"updates": 4}, evaluate={"every": 2}, **changes)
    recipe = small.recipe("ctc", stage, **({"context": context} if context else {}))
    return api.adapt(speech, base=str(base), recipe=recipe, out=out, seed=5, threads=1)


def check_that_streams_say_the_same(model: Any) -> None:
    clip = small.tones("bad cab")
    stream = model.encoder.stream()
    states = [stream.push(clip[i : i + 1234]) for i in range(0, len(clip), 1234)]
    with torch.no_grad():
        found = model.log_probs(torch.cat([*states, stream.flush()]))
        wanted, lens = model(model.features([clip]))
    assert lens.tolist() == [len(found)]
    torch.testing.assert_close(found, wanted[0], atol=1e-4, rtol=0)


def test_a_run_from_random_weights(emformer: Path, speech: Path, tmp_path: Path) -> None:
    run = adapt(emformer, speech, tmp_path / "run", augment=small.AUGMENT)
    assert "augment_not_applied" not in run.summaries[0]["guards"]
    assert run.facts["base"]["name"] == f"{RANDOM}{emformer}"
    model = run.model
    assert isinstance(model.encoder, EmformerEncoder)
    assert model.info["base"]["seed"] == 5
    assert model.info["base"]["name"].startswith(RANDOM)
    clips = [np.asarray(u.load(), np.float32) for u in Corpus.open(speech).split("train")]
    frames = torch.cat([log_mel_frames(clip) for clip in clips]).double()
    torch.testing.assert_close(model.encoder.hf.frame_mean, frames.mean(0).float())
    torch.testing.assert_close(model.encoder.hf.frame_std, frames.std(0, correction=0).float())
    check_that_streams_say_the_same(model)

    again = adapt(run.folder, speech, tmp_path / "again", output={"mode": "keep"})
    assert "seed" not in again.model.info["base"]
    assert torch.equal(again.model.encoder.hf.frame_mean, model.encoder.hf.frame_mean)
    assert not (again.folder / "stages/0-adapt/frames").exists()  # known already
    resumed = api.adapt(None, resume=run.folder)  # its base is found by the name it was given
    assert resumed.facts["base"] == run.facts["base"]


def test_it_learns_to_spell_tones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdef"), rng.integers(2, 7))) for _ in range(60)]
    corpus = small.write_speech(tmp_path / "words", train=words[:48], dev=words[48:])
    shape = {"n_layers": 2, "ffn_dim": 128, "input_dim": 16, "output_dim": 64, "dropout": 0.0}
    base = tiny.emformer_dir(tmp_path / "base", **shape)
    stage = small.stage(
        "ctc", batch_s=10.0, optim={"lr": 3e-3, "warmup": 20}, stop={"updates": 100},
        evaluate={"every": 50},
    )  # fmt: skip
    recipe = small.recipe("ctc", stage)
    run = api.adapt(corpus.path, base=str(base), recipe=recipe, out=tmp_path / "run", threads=1)
    assert run.summaries[0]["dev_cer"] < 0.1
    check_that_streams_say_the_same(run.model)


def test_a_frozen_emformer_is_cached_whole(emformer: Path, speech: Path, tmp_path: Path) -> None:
    run = adapt(emformer, speech, tmp_path / "run", train={"part": "head"})
    assert run.summaries[0]["frozen_cache"]["layer"] == 3
    assert run.summaries[0]["frozen_cache"]["bytes"] > 0


def test_statistics_are_taken_once_a_stage(emformer: Path, tmp_path: Path) -> None:
    corpus = small.write_speech(tmp_path / "a", train=["abc", "fed"], dev=["bad"])
    other = small.write_speech(tmp_path / "b", train=["cafe"], dev=["bad"])
    sets = [open_set(c.split("train"), "headline") for c in (corpus, other)]
    clips = [data.samples(i) for data in sets for i in range(len(data.rows))]

    def measured() -> EmformerEncoder:
        model = from_base(
            find_base(str(emformer)), "ctc", context=None, language="cs",
            alphabet=CharTokenizer(["a"]),
        )  # fmt: skip
        measure_frames(model, sets, tmp_path / "stage")
        assert isinstance(model.encoder, EmformerEncoder)
        return model.encoder

    wanted = torch.cat([log_mel_frames(clip) for clip in clips]).double()
    encoder = measured()
    torch.testing.assert_close(encoder.hf.frame_mean, wanted.mean(0).float())
    assert int(encoder.hf.frame_count) == len(wanted)
    shutil.rmtree(tmp_path / "a-audio")
    again = measured()  # nothing is heard again
    assert torch.equal(again.hf.frame_mean, encoder.hf.frame_mean)
    assert torch.equal(again.hf.frame_std, encoder.hf.frame_std)
    file = tmp_path / "stage/frames/model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError):  # damaged, so everything is heard again
        measured()


def test_the_named_shapes_are_bases(tmp_path: Path) -> None:
    base = find_base("emformer-small")
    assert (base.name, base.model_type) == (f"{RANDOM}emformer-small", "emformer")
    assert base.is_random and base.families == ("ctc", "transducer")
    assert find_base(base.name) == base
    assert find_base("emformer-20").sha256 != base.sha256

    def built(seed: int) -> CTCModel:
        torch.manual_seed(seed)
        found = from_base(
            base, "ctc", context=None, language="cs", alphabet=CharTokenizer(["a", "b"])
        )
        assert isinstance(found, CTCModel)
        return found

    first, same, other = built(1), built(1), built(2)
    name = "encoder.hf.layers.3.fc1.weight"
    assert torch.equal(first.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    from xlasr.models.catalogue import BUILT_IN

    for shape in ("emformer-small", "emformer-20"):
        with torch.device("meta"):
            model = from_base(
                find_base(shape), "ctc", context=None, language="cs", alphabet=CharTokenizer(["a"])
            )
        held = sum(p.numel() for p in model.encoder.parameters())
        assert held == BUILT_IN[shape].n_parameters


def test_configs_without_weights(tmp_path: Path) -> None:
    whisper = small.write_whisper(tmp_path / "whisper")
    (tmp_path / "bare").mkdir()
    shutil.copy(whisper / "config.json", tmp_path / "bare")
    with pytest.raises(BaseError, match="'whisper' model needs its weights"):
        find_base(str(tmp_path / "bare"))
    folder = tiny.emformer_dir(tmp_path / "e")
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree | {"n_heads": 5}))
    with pytest.raises(BaseError, match="5 heads do not divide"):
        from_base(
            find_base(str(folder)), "ctc", context=None, language="cs",
            alphabet=CharTokenizer(["a"]),
        )  # fmt: skip
    shutil.copy(whisper / "model.safetensors", folder)
    with pytest.raises(BaseError, match="no finished run"):
        from_base(
            find_base(str(folder)), "ctc", context=None, language="cs",
            alphabet=CharTokenizer(["a"]),
        )  # fmt: skip


def test_whisper_in_chunks(whisper_dir: Path, speech: Path, tmp_path: Path) -> None:
    context = {"chunk": {"positions": 8, "left": 16}}
    run = adapt(whisper_dir, speech, tmp_path / "run", context=context)
    model = run.model
    assert isinstance(model.encoder, ChunkedWhisperEncoder)
    assert model.encoder.chunks == Chunks(8, 16)
    assert "chunks" not in model.info
    check_that_streams_say_the_same(model)
    # a finished run goes on in other chunks, or whole; and a whole one in chunks
    base = find_base(str(run.folder))
    for wanted in (Chunks(4, 0), Context(8, 8)):
        found = from_base(base, "ctc", context=wanted, language="cs")
        kind = ChunkedWhisperEncoder if isinstance(wanted, Chunks) else WhisperSpeechEncoder
        assert isinstance(found.encoder, kind)
        name = "encoder.hf.layers.1.fc1.weight"
        assert torch.equal(found.state_dict()[name], model.state_dict()[name])
    whole = adapt(whisper_dir, speech, tmp_path / "whole")
    cut = from_base(find_base(str(whole.folder)), "ctc", context=Chunks(8, 8), language="cs")
    assert isinstance(cut.encoder, StreamingEncoder)
    assert not isinstance(load_model(whole.folder / "model").encoder, StreamingEncoder)
    with pytest.raises(BaseError, match="needs whole clips"):
        from_base(find_base(str(whisper_dir)), "seq2seq", context=Chunks(8, 8), language="cs")


def test_a_transducer_goes_on_in_other_chunks(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    chunk = {"chunk": {"positions": 8, "left": 16}}
    stage = small.stage("transducer", stop={"updates": 2}, evaluate={"every": 2})
    recipe = small.recipe("transducer", stage, context=chunk)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    assert run.model.encoder.chunks == Chunks(8, 16)
    base = find_base(str(run.folder))
    cut = from_base(base, "transducer", context=Chunks(4, 8), language="cs").encoder
    assert isinstance(cut, ChunkedWhisperEncoder) and cut.chunks == Chunks(4, 8)
    whole = from_base(base, "transducer", context=Context(8, 8), language="cs").encoder
    assert isinstance(whole, WhisperSpeechEncoder) and whole.context == Context(8, 8)
    keep = small.stage(
        "transducer", stop={"updates": 2}, evaluate={"every": 2}, output={"mode": "keep"}
    )
    other = small.recipe("transducer", keep, context={"chunk": {"positions": 4, "left": 8}})
    again = api.adapt(speech, base=str(run.folder), recipe=other, out=tmp_path / "again", threads=1)
    assert load_model(again.folder / "model").encoder.chunks == Chunks(4, 8)
