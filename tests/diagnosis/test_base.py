"""What a base can hold: heads, frames, pieces; agreed with the models themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.diagnosis.patients import Splits, examine, resound, rewrite, voice, written
from tests.training import small

from xlasr.config import Recipe
from xlasr.data.text import normalise
from xlasr.diagnosis.fit import fit
from xlasr.errors import BaseError, UsageError
from xlasr.models.hub import (
    find_base,
    load_multimodal,
    load_seamless,
    load_self_supervised,
    load_whisper,
    whisper_encoder,
)
from xlasr.models.multimodal import MultimodalEncoder
from xlasr.models.seamless import seamless_encoder
from xlasr.models.tokenizer import CharTokenizer


def adapted(folder: Path, letters: str) -> Path:
    """A finished CTC run, as far as a base is concerned."""
    tiny.speech_dir(folder, "wav2vec2")
    (folder / "xlasr.json").write_text(json.dumps({"family": "ctc"}))
    CharTokenizer(sorted(letters)).save(folder)
    return folder


def letters_of(splits: Splits) -> set[str]:
    return {c for side in splits.values() for u in side for c in normalise(u.text)}


def ctc(mode: str, **more: object) -> Recipe:
    return small.recipe("ctc", small.stage("ctc", output={"mode": mode}, **more))


@pytest.mark.parametrize(
    "kind", [*tiny.SEAMLESS, "wav2vec2", "hubert-group", "w2v-bert", "whisper", "multimodal"]
)
def test_frames_are_those_of_the_model(tmp_path: Path, kind: str) -> None:
    """The architecture without weights against the loaded model."""
    if kind == "whisper":
        folder = tiny.whisper_dir(tmp_path / "base")
        encoder = whisper_encoder(load_whisper(folder).model.encoder, None)
    elif kind == "multimodal":
        folder = tiny.multimodal_dir(tmp_path / "base")
        encoder = MultimodalEncoder(load_multimodal(folder), None)
    elif kind in tiny.SEAMLESS:
        folder = tiny.seamless_dir(tmp_path / "base", kind)
        encoder = seamless_encoder(load_seamless(folder), None)
    else:
        folder = tiny.speech_dir(tmp_path / "base", kind)
        encoder = load_self_supervised(find_base(str(folder)).folder)
    found = fit(str(folder), None, "cs")
    for n_samples in (4000, 16_000, 16_001, 123_456):
        assert found.frames(n_samples) == int(encoder.out_lens(torch.tensor([n_samples]))[0])
    assert found.max_samples == encoder.max_samples
    both = (*tiny.SEAMLESS, "multimodal")
    families = {
        "whisper": ("ctc", "seq2seq", "transducer"),
        **dict.fromkeys(both, ("seq2seq",)),
    }
    assert found.families == families.get(kind, ("ctc", "transducer"))


def test_a_healthy_corpus_fits(tmp_path: Path, splits: Splits) -> None:
    base = tiny.speech_dir(tmp_path / "base", "wav2vec2")
    found = examine(written(tmp_path / "corpus", splits), base=str(base), audio=False)
    assert found.findings == []
    assert not any("--base" in line for line in found.skipped)


def test_phones_and_heads_of_languages_are_not_judged_by_letters(
    tmp_path: Path, splits: Splits
) -> None:
    base = adapted(tmp_path / "base", "".join(letters_of(splits) - set("řž")))
    corpus = written(tmp_path / "corpus", splits)
    heads = small.recipe("ctc", small.stage("ctc", output={"heads": "by_language"}))
    assert examine(corpus, base=str(base), recipe=heads, audio=False).findings == []
    CharTokenizer(["tʃ", "a"], spaced=True).save(base)
    phones = small.recipe("ctc", small.stage("ctc", output={"text": "phones"}))
    assert examine(corpus, base=str(base), recipe=phones, audio=False).findings == []


def test_a_head_that_is_kept_must_have_the_letters(tmp_path: Path, splits: Splits) -> None:
    base = adapted(tmp_path / "base", "".join(letters_of(splits) - set("řž")))
    corpus = written(tmp_path / "corpus", splits)
    found = examine(corpus, base=str(base), audio=False)
    (finding,) = found.findings
    assert (finding.name, finding.severity) == ("letters that the head does not have", "blocking")
    wanted = sum(bool({"ř", "ž"} & set(u.text.lower())) for side in splits.values() for u in side)
    assert len(finding.records) == wanted > 10
    assert "output.mode extend" in finding.advice
    for mode in ("extend", "replace"):
        again = examine(corpus, base=str(base), recipe=ctc(mode), audio=False)
        assert again.named(finding.name) is None
    kept = examine(corpus, base=str(base), recipe=ctc("keep"), audio=False)
    assert kept.named(finding.name) is not None
    whole = adapted(tmp_path / "whole", "".join(letters_of(splits)))
    assert examine(corpus, base=str(whole), audio=False).findings == []


def test_a_stray_letter_is_no_reason_to_stop(tmp_path: Path, splits: Splits) -> None:
    base = adapted(tmp_path / "base", "".join(letters_of(splits)))
    rewrite(splits, "train-3", text="quark " + splits["train"][3].text)
    found = examine(written(tmp_path / "corpus", splits), base=str(base), audio=False)
    finding = found.named("letters that the head does not have")
    assert finding is not None and finding.severity == "warning"
    assert [(r.id, r.detail) for r in finding.records] == [("train-3", "q")]


def test_the_fastest_speed_of_the_recipe_counts(tmp_path: Path, splits: Splits) -> None:
    """A clip that has frames enough as it is, and too few when it is played faster."""
    base = str(tiny.speech_dir(tmp_path / "base", "wav2vec2"))
    resound(splits, "train-5", voice((len(splits["train"][5].text) + 4) / 50, 5), tmp_path)
    corpus = written(tmp_path / "corpus", splits)
    name = "more text than sound"
    fast = ctc("replace", augment={"speed": [0.9, 1.0, 1.3]})
    assert examine(corpus, base=base, recipe=ctc("replace"), audio=False).named(name) is None
    found = examine(corpus, base=base, recipe=fast, audio=False).named(name)
    assert found is not None and [r.id for r in found.records] == ["train-5"]


def test_whispers_pieces(tmp_path: Path, splits: Splits) -> None:
    base = tiny.whisper_dir(tmp_path / "base")  # 40 positions, and few Czech words
    found = examine(written(tmp_path / "corpus", splits), base=str(base), audio=False)
    too_long = found.named("too long for the decoder")
    assert too_long is not None and too_long.severity == "blocking"
    assert "the 37 pieces" in too_long.message  # 40 less start, no timestamps and end
    spelled = found.named("spelled rather than written")
    assert spelled is not None and "by bytes: " in spelled.message
    window = tiny.whisper_dir(tmp_path / "narrow", max_positions=150)
    short = examine(written(tmp_path / "c2", splits), base=str(window), audio=False)
    narrow = short.named("too long")
    assert narrow is not None and narrow.severity == "blocking" and "3 s" in narrow.message


def test_a_decoder_needs_no_frame_for_each_letter(tmp_path: Path, splits: Splits) -> None:
    """SeamlessM4T has six positions a second, fewer than anybody speaks letters."""
    base = tiny.seamless_dir(tmp_path / "base")
    corpus = written(tmp_path / "corpus", splits)
    found = examine(corpus, base=str(base), recipe="seamless-length", audio=False)
    assert found.named("more text than sound") is None
    too_long = found.named("too long for the decoder")
    assert too_long is not None
    assert "the 37 pieces" in too_long.message  # 40 less end, language and end
    with pytest.raises(BaseError, match="no token for the language 'cs'"):
        (base / "tokenizer_config.json").write_text(
            (base / "tokenizer_config.json").read_text().replace("ces", "fra")
        )
        examine(corpus, base=str(base), recipe="seamless-length", audio=False)


def test_a_recipe_needs_a_base_that_fits(tmp_path: Path, splits: Splits) -> None:
    corpus = written(tmp_path / "corpus", splits)
    with pytest.raises(UsageError, match="add --base"):
        examine(corpus, recipe="ctc", audio=False)
    base = tiny.speech_dir(tmp_path / "base", "wav2vec2")
    with pytest.raises((BaseError, UsageError)):
        examine(corpus, base=str(base), recipe="whisper-full", audio=False)
