"""An attention decoder of our own on every kind of encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny

from xlasr.adaptation.lora import merged_state
from xlasr.adaptation.trainable import make_trainable
from xlasr.config import ObjectiveSettings, TrainSettings
from xlasr.decoding.recognise import DecodeOptions, hypotheses, n_best_lists, recognise
from xlasr.errors import BaseError, UsageError
from xlasr.features.streaming import FrameStatistics
from xlasr.models.attention import AttentionModel, DecoderShape, DecoderTokens
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.frames import MeasuredEncoder
from xlasr.models.hub import find_base
from xlasr.models.pieces import UNKNOWN, PieceTokenizer
from xlasr.models.run import from_base, load_model, on_encoder, save_model
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.log_prob import log_prob

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
LETTERS = CharTokenizer(list(" abcd"))
BASES = ["audiovisual", "emformer", "wav2vec2", "wav2vec2-group", "w2v-bert", "whisper"]
CLIPS = [tiny.clip(s, i) for i, s in enumerate((0.5, 0.9, 0.7))]
TEXTS = ["ab", "d cab a", "c"]


def directory(folder: Path, kind: str) -> Path:
    if kind == "whisper":
        return tiny.whisper_dir(folder, max_positions=100)
    if kind == "emformer":  # its layers are narrower than what it gives
        return tiny.emformer_dir(folder, output_dim=48)
    own = {"audiovisual": tiny.audiovisual_dir}
    return own[kind](folder) if kind in own else tiny.speech_dir(folder, kind)


def build(folder: Path, kind: str = "audiovisual", **shape: int) -> AttentionModel:
    torch.manual_seed(0)
    model = from_base(
        find_base(str(directory(folder, kind))),
        "seq2seq",
        context=Context(8, 8),
        language="cs",
        alphabet=LETTERS,
        decoder=DecoderShape(**shape),
    )
    assert isinstance(model, AttentionModel)
    if isinstance(model.encoder, MeasuredEncoder):
        model.encoder.measure(FrameStatistics.of_clips(CLIPS))
    with torch.no_grad():  # far from zero, so that every difference is seen
        for name, parameter in model.named_parameters():
            if "decoder" in name and parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model.eval()


def log_probs(model: AttentionModel, rows: list[int]) -> torch.Tensor:
    features = model.features([CLIPS[i] for i in rows], 64 if model.encoder.context else None)
    ids = [model.tokenizer.encode(TEXTS[i]) for i in rows]
    with torch.no_grad():
        return log_prob(model, model.encoder(features), features.input_lens, ids, range(len(rows)))


@pytest.mark.parametrize("kind", BASES)
def test_a_batch_equals_batches_of_one(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind, max_tokens=20)  # all end at one length
    together = log_probs(model, [0, 1, 2])
    alone = torch.cat([log_probs(model, [i]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=0)
    assert together.std() > 0.1
    for beam in (1, 3):
        options = DecodeOptions(beam=beam)
        seconds = [len(c) / 16_000 for c in CLIPS]
        found = recognise(model, CLIPS, seconds, options)
        for one, clip, s in zip(found, CLIPS, seconds, strict=True):
            again = recognise(model, [clip], [s], options)[0]
            assert again.text == one.text
            assert again.log_prob == pytest.approx(one.log_prob, abs=1e-3)


@pytest.mark.parametrize("kind", BASES)
def test_what_is_saved_opens_and_says_the_same(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind, layers=1, ffn_dim=24)
    (tmp_path / "saved").mkdir()
    save_model(model, tmp_path / "saved", tmp_path / "base")
    again = load_model(tmp_path / "saved")
    assert isinstance(again, AttentionModel) and again.tokenizer.symbols == LETTERS.symbols
    assert len(again.decoder.layers) == 1 and again.decoder.layers[0].fc1.out_features == 24
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert torch.equal(log_probs(again, [1]), log_probs(model, [1]))
    base = find_base(str(tmp_path / "saved"))
    assert base.adapted == "seq2seq" and base.families == ("ctc", "seq2seq", "transducer")
    go_on = from_base(base, "seq2seq", context=Context(8, 8), language="nl")
    assert isinstance(go_on, AttentionModel) and go_on.info["language"] == "nl"
    assert torch.equal(log_probs(go_on.eval(), [1]), log_probs(model, [1]))


def test_greedy_is_a_beam_of_one_and_scores_what_it_writes(tmp_path: Path) -> None:
    from xlasr.decoding import beam, seq2seq

    model = build(tmp_path / "base")
    features = model.features(CLIPS)
    with torch.no_grad():
        states = model.encoder(features)
    common = {
        "max_tokens": 12,
        "allowed": model.tokenizer.allowed,
        "is_pad": model.is_pad(states, features.input_lens),
    }
    prompt, end = model.tokenizer.prompt, model.tokenizer.eot
    greedy = seq2seq.greedy(model.hf, states, prompt, end, **common)
    beams = beam.beam(model.hf, states, prompt, end, beam=1, **common)
    assert [g.tokens for g in greedy] == [b.tokens for (b,) in beams]
    for found, (other,) in zip(greedy, beams, strict=True):
        assert found.log_prob == pytest.approx(other.log_prob, abs=1e-4)
    lists = n_best_lists(model, CLIPS, [len(c) / 16_000 for c in CLIPS], DecodeOptions(beam=3), 3)
    for row, found in enumerate(lists):
        for one in (h for h in found if h.complete):
            scored = log_prob(model, states, features.input_lens, [one.tokens], [row])
            assert float(scored.detach()) == pytest.approx(one.log_prob, abs=1e-3)


def test_the_padding_of_a_clip_is_not_heard(tmp_path: Path) -> None:
    model = build(tmp_path / "base")
    features = model.features(CLIPS)
    with torch.no_grad():
        states = model.encoder(features)
    is_pad = model.is_pad(states, features.input_lens)
    assert is_pad.any() and not is_pad[1].any()
    noisy = states + 5.0 * is_pad[..., None]
    inputs, _ = model.target_ids(TEXTS)
    quiet = model.decoder_states(states, inputs, features.input_lens)
    torch.testing.assert_close(model.decoder_states(noisy, inputs, features.input_lens), quiet)
    found = [hypotheses(model, s, features.input_lens, DecodeOptions()) for s in (states, noisy)]
    assert found[0] == found[1]


def test_pieces_begin_end_and_are_never_unknown() -> None:
    pieces = PieceTokenizer.from_texts(["the cat sat", "a mat that sat", "tac"] * 5, 13)
    tokens = DecoderTokens(pieces)
    assert UNKNOWN not in tokens.allowed and tokens.eot in tokens.allowed
    ids = tokens.encode("the cat")
    assert 0 not in ids and tokens.decode([*ids, tokens.eot]) == "the cat"
    with pytest.raises(UsageError, match="bpe_dropout"):
        tokens.sample("a", 0.1, lambda: 0.0)


def test_the_head_is_the_decoder_and_the_encoder_stays(tmp_path: Path) -> None:
    model = build(tmp_path / "base")
    found = make_trainable(model, TrainSettings(part="head"))
    assert found.names == [n for n, _ in model.named_parameters() if "hf.encoder." not in n]
    assert found.frozen_layers == model.encoder.n_layers
    before = {n: v.clone() for n, v in model.state_dict().items()}
    model.train()
    features = model.features(CLIPS)
    loss = OBJECTIVES["cross_entropy"](
        model, model.encoder(features), features.input_lens, TEXTS,
        ObjectiveSettings(kind="cross_entropy"),
    )  # fmt: skip
    loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n in found.names)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("hf.encoder." in name), name


def test_only_the_encoder_goes_from_one_family_to_another(tmp_path: Path) -> None:
    model = build(tmp_path / "base")
    info = {"family": "ctc", "base": model.info["base"], "language": "cs", "text": "headline"}
    letters = CharTokenizer(["x", "y"])
    head = on_encoder(model, "ctc", dict(info), letters)
    assert isinstance(head, CTCModel) and head.encoder is model.encoder
    for family in ("ctc", "transducer"):
        with pytest.raises(BaseError, match=r"say output\.mode: replace"):
            on_encoder(model, family, dict(info), None)
    again = on_encoder(head, "seq2seq", dict(info), LETTERS, decoder=DecoderShape(layers=1))
    assert isinstance(again, AttentionModel) and again.encoder is head.encoder
    # a transducer on it takes the letters of the head, and the head as its aid
    kept = on_encoder(head, "transducer", dict(info), None)
    assert isinstance(kept, Transducer) and kept.aids["ctc"] is head.head


def test_what_has_no_place_for_a_decoder(tmp_path: Path) -> None:
    base = find_base(str(tiny.seamless_dir(tmp_path / "s")))
    with pytest.raises(BaseError, match="could not understand it"):
        from_base(
            base, "seq2seq", context=None, language="cs", alphabet=LETTERS, decoder=DecoderShape()
        )
    bare = find_base(str(tiny.audiovisual_dir(tmp_path / "av")))
    assert bare.families == ("ctc", "transducer")
    with pytest.raises(BaseError, match="has no decoder for 'seq2seq'"):
        from_base(bare, "seq2seq", context=None, language="cs", alphabet=LETTERS)
    with pytest.raises(UsageError, match="speak the text"):
        build(tmp_path / "one").text_features(["a"])


@pytest.mark.parametrize("kind", ["audiovisual", "emformer", "wav2vec2"])
@pytest.mark.parametrize("part", ["lora", "adapter"])
def test_additive_parts_stand_on_both_sides(tmp_path: Path, kind: str, part: str) -> None:
    model = build(tmp_path / "base", kind)
    before = log_probs(model, [1])
    settings = {
        "part": part,
        "lora": {"r": 2, "targets": ["q_proj", "v_proj"]},
        "adapter": {"width": 4, "where": "both"},
    }
    found = make_trainable(model, TrainSettings.model_validate(settings))
    assert {name.split(".")[1] for name in found.names} == {"encoder", "decoder"}
    torch.testing.assert_close(log_probs(model.eval(), [1]), before, atol=1e-5, rtol=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in found.names:
                parameter.normal_(std=0.3)
    changed = log_probs(model, [1])
    assert not torch.allclose(changed, before, atol=1e-2)
    (tmp_path / "saved").mkdir()
    state = merged_state(model) if part == "lora" else None
    save_model(model, tmp_path / "saved", tmp_path / "base", state)
    again = load_model(tmp_path / "saved")
    assert isinstance(again, AttentionModel)
    torch.testing.assert_close(log_probs(again, [1]), changed, atol=1e-3, rtol=1e-4)
