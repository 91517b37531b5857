"""SeamlessM4T's pieces beside SentencePiece itself, and languages by their tags."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import sentencepiece
from tests import tiny

from xlasr.errors import BaseError
from xlasr.models.seamless_tokens import SeamlessTokens, match_language

CODES = [*"arb ary ben cmn cmn_Hant eng fuv gaz hin khk lvs nno nob ory pbt pes".split()]
CODES += [*"por srp swh tgl yue zlm".split()]


@pytest.fixture
def tokens(tmp_path: Path) -> SeamlessTokens:
    n_tokens = tiny.seamless_tokenizer_files(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "seamless_m4t"}')
    return SeamlessTokens.load(tmp_path, n_tokens + 2, "cs")


def test_pieces_are_those_of_sentencepiece(tokens: SeamlessTokens) -> None:
    judge = sentencepiece.SentencePieceProcessor(model_proto=tiny.sentencepiece_model())
    words = tiny.WORDS.split()
    draw = random.Random(0)
    for _ in range(50):
        text = " ".join(draw.choices(words, k=draw.randint(1, 6)))
        ids = tokens.encode(text)
        assert ids == [i + 1 for i in judge.encode(text)]  # <pad> stands before all others
        assert tokens.decode(ids) == text
    assert len(tokens) == len(judge) + 1 + len(tiny.SEAMLESS_LANGUAGES) + 2


def test_only_pieces_and_the_end_may_be_written(tokens: SeamlessTokens) -> None:
    assert next(iter(tokens.allowed)) == tokens.eot == 3
    assert max(tokens.allowed) == min(tokens.languages.values()) - 1
    assert tokens.decode([*tokens.prompt, *tokens.encode("ahoj"), 3, 0, 2]) == "ahoj"
    # a transcript that looks like a token is text
    assert not {*tokens.languages.values()} & {*tokens.encode("__ces__ ahoj")}


def test_letters_that_the_vocabulary_lacks_are_told_and_left_out(tokens: SeamlessTokens) -> None:
    assert tokens.unknown(["ahoj ž", "q ĸq"]) == {"q": 2, "ĸ": 1}
    assert tokens.encode("aĸhoj") == tokens.encode("a") + tokens.encode("hoj")[1:]
    assert tokens.unk in tokens.source("qq", "en")  # as the base itself reads it


def test_random_segmentations_spell_the_same_text(tokens: SeamlessTokens) -> None:
    draw = random.Random(0)
    text = "potápěč řekni kapitán jenom"
    plain = tokens.encode(text)
    assert tokens.sample(text, 0.0, draw.random) == plain
    assert tokens.sample("aq", 0.0, draw.random) == tokens.encode("aq")
    drawn = [tokens.sample(text, 0.3, draw.random) for _ in range(5)]
    assert all(tokens.decode(ids) == text for ids in drawn)
    assert sum(ids != plain for ids in drawn) > 2


def test_files_of_a_tokenizer(tokens: SeamlessTokens, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    tokens.save(other)
    again = SeamlessTokens.load(other, len(tokens), "nl")
    assert again.encode("ahoj rybo") == tokens.encode("ahoj rybo")
    assert again.prompt == tokens.for_language("nl").prompt != tokens.prompt
    (other / "tokenizer.json").unlink()
    with pytest.raises(BaseError, match=r"has no tokenizer\.json, and its SentencePiece"):
        SeamlessTokens.load(other, len(tokens), "nl")
    spec = json.loads(json.dumps(tokens.spec))
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] != "<pad>"]
    with pytest.raises(BaseError, match="has no <pad> among"):
        SeamlessTokens(spec, len(tokens), "cs")


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en-GB", "eng"),
        ("pt-BR", "por"),
        ("or", "ory"),
        ("sw", "swh"),
        ("lv", "lvs"),
        ("mn", "khk"),
        ("fa", "pes"),
        ("om", "gaz"),
        ("fil", "tgl"),
        ("ar", "arb"),
        ("ary", "ary"),
        ("ms", "zlm"),
        ("ps", "pbt"),
        ("ff", "fuv"),
        ("no", "nob"),
        ("nn", "nno"),
        ("zh", "cmn"),
        ("zh-TW", "cmn_Hant"),
        ("yue", "yue"),
        ("cmn_Hant", "cmn_Hant"),
        ("sr", "srp"),
        ("sr-Latn", None),  # it would write Cyrillic
        ("apc", None),  # another Arabic than those it has
        ("wuu", None),
        ("mai", None),
        ("x-klingon", None),
        ("q!", None),
    ],
)
def test_languages_by_their_tags(tag: str, code: str | None) -> None:
    assert match_language(tag, CODES) == code
