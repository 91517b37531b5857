"""SeamlessM4T beside transformers' own classes: states, logits, decoding, what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests import tiny

from xlasr.decoding import beam as beams
from xlasr.decoding.hypothesis import find_loop
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.decoding.seq2seq import greedy
from xlasr.errors import BaseError
from xlasr.models.hub import find_base
from xlasr.models.run import from_base, load_model, save_model
from xlasr.models.seamless import SeamlessModel

pytestmark = pytest.mark.filterwarnings("ignore:Writing model shards")
TEXTS = ["ahoj rybo", "kde jsi", "plave tady voda"]
SECONDS = (0.5, 1.013, 0.733)
"""Of which the last two have an odd number of mel frames."""
CLIPS = [tiny.clip(s, i) for i, s in enumerate(SECONDS)]
kinds = pytest.mark.parametrize("kind", tiny.SEAMLESS)


def build(folder: Path, kind: str, *, parts: str = "Model", **options: Any) -> SeamlessModel:
    base = find_base(str(tiny.seamless_dir(folder, kind, parts=parts)))
    model = from_base(base, "seq2seq", context=None, **{"language": "cs", **options})
    assert isinstance(model, SeamlessModel)
    return model.eval()


def transformers_class(kind: str, end: str) -> Any:
    return getattr(transformers, f"SeamlessM4T{'v2' if kind == 'seamless-v2' else ''}{end}")


def saved(model: SeamlessModel, folder: Path, base: Path) -> Path:
    folder.mkdir()
    save_model(model, folder, base)
    return folder


def logits(model: SeamlessModel, clips: list[tiny.Clip], inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(model.features(clips), inputs)
    return found


@kinds
def test_a_batch_gives_what_its_clips_give_alone(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    inputs, targets = model.target_ids(TEXTS)
    together = logits(model, CLIPS, inputs)
    assert together.std() > 0.3
    for row, clip in enumerate(CLIPS):
        own, _ = model.target_ids([TEXTS[row]])
        alone = logits(model, [clip], own)
        n = own.shape[1]
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-4, rtol=0)
        assert (targets[row, n:] == -100).all()
    other = logits(model, CLIPS[::-1], inputs)
    assert (other[0] - together[0]).abs().max() > 0.05  # the decoder does listen


@kinds
def test_states_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    """Of a clip alone; of a batch, its convolutions look into the padding."""
    model = build(tmp_path, kind)
    theirs = transformers_class(kind, "ForSpeechToText").from_pretrained(tmp_path).eval()
    features = model.features(CLIPS)
    inputs, _ = model.target_ids(TEXTS)
    with torch.no_grad():
        states = model.encoder(features)
        ours = model(features, inputs)
        for row, pad in enumerate(features.is_pad):  # type: ignore[arg-type]
            values = features.values[row : row + 1, ~pad]
            wanted = theirs(input_features=values, decoder_input_ids=inputs[row : row + 1])
            n = wanted.encoder_last_hidden_state.shape[1]
            assert n == int(model.out_lens(features.input_lens)[row])
            torch.testing.assert_close(
                states[row, :n], wanted.encoder_last_hidden_state[0], atol=1e-4, rtol=0
            )
            torch.testing.assert_close(ours[row], wanted.logits[0], atol=1e-4, rtol=0)
    processed = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)(
        CLIPS, sampling_rate=16_000, return_tensors="pt"
    )
    seen = processed["attention_mask"].bool()
    assert torch.equal(features.values[~features.is_pad], processed["input_features"][seen])  # type: ignore[operator]


@kinds
def test_lengths_are_counted_as_the_encoder_makes_them(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    sizes = [560, 719, 720, 880, 2900, 3000, *range(8000, 13_000, 777)]
    counted = model.out_lens(torch.tensor(sizes)).tolist()
    with torch.no_grad():
        made = [model.encoder(model.features([tiny.clip(2.0)[:n]])).shape[1] for n in sizes]
    assert counted == made == [model.encoder.positions(n) for n in sizes]
    assert model.encoder.samples_per_position == 2560
    assert counted[0] == 1 and max(counted) == 5
    with pytest.raises(BaseError, match="a clip of 559 samples gives no encoder position"):
        model.features([tiny.clip(1.0)[:559]])
    with pytest.raises(BaseError, match="behind its last layer only"):
        model.encoder.lower(model.features(CLIPS), 1)
    features = model.features(CLIPS)
    with torch.no_grad():
        below = model.encoder.lower(features, 3)
        assert below.shape[1] == features.values.shape[1]  # before the length adapter
        assert torch.equal(model.encoder.upper(below, 3, features), model.encoder(features))


@kinds
def test_text_goes_through_the_same_decoder(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    theirs = transformers_class(kind, "ForTextToText").from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, src_lang="eng")
    tokenizer.src_lang = "eng"
    sources = ["hello fish", "where are you", "you"]
    wanted = tokenizer(sources, padding=True, return_tensors="pt")
    features = model.text_features(sources)
    assert features.is_text and not model.features(CLIPS).is_text
    assert torch.equal(features.values, wanted["input_ids"])
    assert features.input_lens.tolist() == wanted["attention_mask"].sum(1).tolist()
    inputs, _ = model.target_ids(TEXTS)
    with torch.no_grad():
        ours = model(features, inputs)
        plain = theirs(**wanted, decoder_input_ids=inputs).logits
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=0)
        alone = model(model.text_features(sources[2:]), inputs[2:])
    torch.testing.assert_close(ours[2:], alone, atol=1e-4, rtol=0)
    czech = model.text_features(["ahoj"], "cs").values
    assert czech[0, 0] == model.tokenizer.languages["ces"]
    assert model.hf.text_encoder.embed_tokens.weight is model.hf.lm_head.weight


def test_the_states_say_themselves_whether_they_are_text(tmp_path: Path) -> None:
    model = build(tmp_path, "seamless")
    speech, text = model.features(CLIPS), model.text_features(["hello fish", "you"])
    for features, lens in ((speech, [4, 7, 5]), (text, text.input_lens.tolist())):
        states = torch.zeros(len(lens), max(lens), 32)
        is_pad = model.is_pad(states, features.input_lens)
        assert is_pad is not None and (~is_pad).sum(1).tolist() == lens
    even = model.features(CLIPS[:1] * 2)
    assert model.is_pad(torch.zeros(2, 4, 32), even.input_lens) is None


@pytest.mark.parametrize("parts", ["Model", "ForSpeechToText"])
@kinds
def test_a_run_opens_in_xlasr_and_in_transformers(tmp_path: Path, kind: str, parts: str) -> None:
    base = tmp_path / "base"
    model = build(base, kind, parts=parts)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    folder = saved(model, tmp_path / "model", base)
    inputs, _ = model.target_ids(TEXTS)
    again = load_model(folder)
    assert isinstance(again, SeamlessModel)
    assert again.info == model.info and again.tokenizer.prompt == model.tokenizer.prompt
    assert torch.equal(logits(again, CLIPS, inputs), logits(model, CLIPS, inputs))
    more = from_base(find_base(str(folder)), "seq2seq", context=None, language="nl")
    assert isinstance(more, SeamlessModel)
    assert more.tokenizer.prompt[1] == model.tokenizer.languages["nld"]

    theirs, found = transformers_class(kind, "ForSpeechToText").from_pretrained(
        folder, output_loading_info=True
    )
    assert not found["missing_keys"] and not found["mismatched_keys"]
    assert theirs.config.architectures == [type(theirs).__name__]
    values = model.features(CLIPS[:1]).values
    with torch.no_grad():
        plain = theirs.eval()(input_features=values, decoder_input_ids=inputs[:1]).logits
    torch.testing.assert_close(logits(model, CLIPS[:1], inputs[:1]), plain, atol=1e-4, rtol=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert tokenizer(text, add_special_tokens=False).input_ids == model.tokenizer.encode(text)
    assert tokenizer.convert_tokens_to_ids("__ces__") == model.tokenizer.prompt[1]

    has_text = parts == "Model"
    assert ("text_encoder" in dict(again.hf.named_children())) == has_text
    if has_text:
        text, found = transformers_class(kind, "ForTextToText").from_pretrained(
            folder, output_loading_info=True
        )
        assert not found["missing_keys"]
        assert torch.equal(text.text_encoder.layer_norm.bias, model.hf.text_encoder.layer_norm.bias)
    else:
        with pytest.raises(BaseError, match="has no text encoder"):
            again.text_features(["hello"])
        with pytest.raises(BaseError, match="understands speech only"):
            features = build(tmp_path / "whole", kind).text_features(["hello"])
            again.encoder(features)


MANY = [*CLIPS, *(tiny.clip(0.4 + 0.13 * i, 3 + i) for i in range(4))]


def talkative(model: SeamlessModel, width: float = 5.0) -> SeamlessModel:
    """Random weights say one word for ever; with louder ones they come to speak."""
    with torch.no_grad():
        for name, parameter in model.hf.text_decoder.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter *= width
    return model


@kinds
def test_it_decodes_as_generate_does(tmp_path: Path, kind: str) -> None:
    base = tmp_path / "base"
    model = talkative(build(base, kind))
    folder = saved(model, tmp_path / "model", base)
    plain = transformers_class(kind, "ForSpeechToText").from_pretrained(folder).eval()
    tokens = model.tokenizer
    features = model.features(MANY)
    with torch.no_grad():
        states = model.encoder(features)
    ours = greedy(
        model.hf,
        states,
        tokens.prompt,
        tokens.eot,
        max_tokens=30,
        is_pad=model.is_pad(states, features.input_lens),
    )
    theirs = [generated(plain, model, clip, suppress_tokens=None) for clip in MANY]
    assert {i for row in theirs for i in row} - set(tokens.allowed)  # special tokens too
    for found, row in zip(ours, theirs, strict=True):  # ours ends a loop, theirs goes on
        assert row[: len(found.tokens)] == found.tokens
        assert found.looped == (find_loop(row) is not None)
        assert found.looped or found.tokens == row
    assert sum(len(set(found.tokens)) > 3 for found in ours) > 2
    assert any(found.looped for found in ours)

    # and what is saved keeps plain transformers from special tokens, as recognise does
    heard = recognise(model, MANY, [len(c) / 16_000 for c in MANY], DecodeOptions())
    for result, clip in zip(heard, MANY, strict=True):
        row = generated(plain, model, clip, max_new_tokens=model.max_tokens - 2)
        cut = find_loop(row)
        assert result.looped == (cut is not None)
        assert result.text == tokens.decode(row[:cut])
    assert sum(len(set(result.text)) > 3 for result in heard) > 2


def generated(plain: Any, model: SeamlessModel, clip: tiny.Clip, **options: Any) -> list[int]:
    """What ``generate`` says, without prompt and end."""
    values = model.features([clip]).values
    asked = {"num_beams": 1, "do_sample": False, "max_new_tokens": 30, **options}
    row = plain.generate(values, tgt_lang="ces", **asked)
    ids: list[int] = row[0].tolist()
    assert ids[:2] == model.tokenizer.prompt
    return ids[2 : ids.index(3, 2)] if 3 in ids[2:] else ids[2:]


@kinds
def test_a_beam_does_not_hear_the_padding_of_others(tmp_path: Path, kind: str) -> None:
    model = talkative(build(tmp_path, kind))
    tokens = model.tokenizer

    def heard(clips: list[tiny.Clip], width: int, deaf: bool = False) -> list[list[int]]:
        features = model.features(clips)
        with torch.no_grad():
            states = model.encoder(features)
        is_pad = None if deaf else model.is_pad(states, features.input_lens)
        lists = beams.beam(
            model.hf,
            states,
            tokens.prompt,
            tokens.eot,
            max_tokens=12,
            beam=width,
            allowed=tokens.allowed,
            is_pad=is_pad,
        )
        return [hypotheses[0].tokens for hypotheses in lists]

    for width in (1, 3):
        together = heard(MANY, width)
        assert together == [heard([clip], width)[0] for clip in MANY]
        assert together != heard(MANY, width, deaf=True)


def test_a_language_that_the_base_has_no_token_for(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with pytest.raises(BaseError, match=r"no token for .* 'mai'.*prompt_language.*ces, cmn, cmn_H"):
        build(base, "seamless", language="mai")
    model = build(base, "seamless", language="mai", prompt_language="hi")
    assert model.tokenizer.prompt == [3, model.tokenizer.languages["hin"]]
    folder = saved(model, tmp_path / "model", base)
    again = load_model(folder)
    assert again.info["language"] == "mai"
    assert again.info["prompt_language"] == "hi"
    assert isinstance(again, SeamlessModel)
    assert again.tokenizer.prompt == model.tokenizer.prompt
    with pytest.raises(BaseError, match="no token for the language 'mr'"):
        build(base, "seamless", language="mai", prompt_language="mr")


def test_a_damaged_text_encoder_is_no_text_encoder(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.seamless_dir(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    del state["text_encoder.layers.0.ffn.fc1.weight"]
    save_file(state, str(path), metadata={"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks 1 weights .*text_encoder\.layers\.0\.ffn\.fc1"):
        from_base(find_base(str(tmp_path)), "seq2seq", context=None, language="cs")
