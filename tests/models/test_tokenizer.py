"""Letters for CTC; Whisper's pieces, whole and cut to a language."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny

from xlasr.errors import BaseError, DataError
from xlasr.models.tokenizer import CharTokenizer, WhisperTokens

SPEC = json.loads(tiny.tokenizer_json())
MULTI = json.loads(tiny.tokenizer_json(multilingual=True))
N_VOCAB = 332
CUT_TEXTS = ["ahoj rybo kde jsi", "řekni žižka"]


def whole(language: str | None = "cs") -> WhisperTokens:
    return WhisperTokens(SPEC, N_VOCAB, language)


WHOLE = whole()
CUT, OLD_IDS = WHOLE.cut(CUT_TEXTS)


# ---------------------------------------------------------------- letters


@given(st.lists(st.text(min_size=1), min_size=1))
def test_letters_round_trip_and_the_blank_is_no_letter(texts: list[str]) -> None:
    tokenizer = CharTokenizer.from_texts(texts)
    assert len(tokenizer) == len({c for t in texts for c in t}) + 1
    assert tokenizer.unknown(texts) == {}
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(0 < i < len(tokenizer) for i in ids)


def test_letters_that_training_never_saw_are_counted_and_left_out(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_texts(["baa", "ab b"])
    assert tokenizer.symbols == [" ", "a", "b"]
    assert tokenizer.unknown(["cac", "dá"]) == {"c": 2, "d": 1, "á": 1}
    assert tokenizer.encode("cab") == [2, 3]
    assert CharTokenizer.from_texts(["aab"], at_least=2).symbols == ["a"]
    wider = tokenizer.extended(["dca", "c"])
    assert wider.symbols == [" ", "a", "b", "c", "d"]
    assert wider.encode("ab ") == tokenizer.encode("ab ")
    wider.save(tmp_path)
    assert CharTokenizer.load(tmp_path).symbols == wider.symbols


def test_no_alphabet_is_an_error() -> None:
    with pytest.raises(DataError, match="the alphabet is empty"):
        CharTokenizer.from_texts(["", ""])
    with pytest.raises(DataError, match="duplicates"):
        CharTokenizer(["a", "b", "a"])


# ---------------------------------------------------------------- Whisper


def test_prompts() -> None:
    ids = {t["content"]: t["id"] for t in SPEC["added_tokens"]}
    assert whole().prompt == [ids["<|startoftranscript|>"], ids["<|notimestamps|>"]]

    def names(language: str | None) -> list[str]:
        tokens = WhisperTokens(MULTI, N_VOCAB, language, multilingual=True)
        by_id = {t["id"]: t["content"] for t in MULTI["added_tokens"]}
        return [by_id[i] for i in tokens.prompt]

    start, end = "<|startoftranscript|>", ["<|transcribe|>", "<|notimestamps|>"]
    assert names("de-AT") == [start, "<|de|>", *end]
    assert names("cs") == names(None) == [start, "<|en|>", *end]  # borrows the English token
    assert len(whole()) == N_VOCAB
    assert whole().unknown(["ñ"]) == {}


def test_incomplete_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"has no tokenizer\.json"):
        WhisperTokens.load(tmp_path, N_VOCAB)
    spec = json.loads(json.dumps(SPEC))
    spec["added_tokens"] = [t for t in spec["added_tokens"] if "notime" not in t["content"]]
    with pytest.raises(BaseError, match=r"no <\|notimestamps\|>; is tokenizer\.json complete"):
        WhisperTokens(spec, N_VOCAB)


def test_marks_in_a_transcript_are_letters_not_commands() -> None:
    text = "ahoj <|endoftext|><|en|> rybo"
    ids = WHOLE.encode(text)
    assert max(ids) < WHOLE.eot
    assert WHOLE.decode(ids) == text
    cut, _ = WHOLE.cut([text])
    assert cut.decode(cut.encode(text)) == text


def test_specials_and_time_stamps_are_left_out_of_text() -> None:
    ids = WHOLE.encode("ahoj")
    assert WHOLE.decode([*WHOLE.prompt, *ids, WHOLE.eot, N_VOCAB + 3]) == "ahoj"


def test_the_cut_keeps_what_the_text_needs_and_no_more() -> None:
    assert len(CUT) == len(OLD_IDS) < N_VOCAB
    assert sorted(set(OLD_IDS)) == OLD_IDS
    pieces = {i: piece for piece, i in SPEC["model"]["vocab"].items()}
    used = {i for text in CUT_TEXTS for i in WHOLE.encode(text)}
    assert used <= set(OLD_IDS)
    assert any(len(pieces[i]) > 4 for i in used)  # there are merges to be kept
    # what goes: whole words of other texts
    gone = {pieces[i] for i in set(range(WHOLE.eot)) - set(OLD_IDS)}
    assert "Ġkapit" in gone or any("kap" in piece for piece in gone)
    # every special and every row behind, in order
    assert OLD_IDS[CUT.eot :] == list(range(WHOLE.eot, N_VOCAB))
    assert CUT.no_timestamps - CUT.eot == WHOLE.no_timestamps - WHOLE.eot
    assert [OLD_IDS[i] for i in CUT.prompt] == WHOLE.prompt
    assert (CUT.multilingual, CUT.language) == (WHOLE.multilingual, "cs")


def test_the_cut_segments_its_text_as_before() -> None:
    for text in [*CUT_TEXTS, "jsi", "rybo ahoj", "  kde "]:
        assert [OLD_IDS[i] for i in CUT.encode(text)] == WHOLE.encode(text)
    longer = CUT.encode("potápěč kapitán")  # not in the text: spelt with smaller pieces
    assert len(longer) > len(WHOLE.encode("potápěč kapitán"))
    assert CUT.decode(longer) == "potápěč kapitán"


WORDS = st.lists(st.sampled_from(tiny.WORDS.split()), min_size=1, max_size=8).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_any_text_is_segmented_as_before_by_its_own_cut(texts: list[str]) -> None:
    cut, old_ids = WHOLE.cut(texts)
    for text in texts:
        assert [old_ids[i] for i in cut.encode(text)] == WHOLE.encode(text)
    again, kept = cut.cut(texts)  # a second cut to the same text changes nothing
    assert kept == list(range(len(cut)))
    assert again.spec == cut.spec


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_the_cut_spells_any_text(text: str) -> None:
    assert CUT.decode(CUT.encode(text)) == WHOLE.decode(WHOLE.encode(text)) == text.strip()
    assert all(i < CUT.eot for i in CUT.encode(text))


@pytest.mark.parametrize(
    ("merges", "texts"),
    [
        # "abc" is made of "ab c", though "a bc" stands later; by the other way "aa bc" comes out
        (["a b", "ab c", "a a", "b c", "a bc"], ["aabc", "aa"]),
        # "abc" is made of "a bc", though "ab c" stands first; by the other way "ab cc" comes out
        (["ab c", "b c", "a bc", "c c", "a b"], ["abcc", "cc"]),
    ],
)
def test_a_piece_made_in_two_ways_keeps_both(merges: list[str], texts: list[str]) -> None:
    spec = json.loads(json.dumps(SPEC))
    letters = sorted(piece for piece in SPEC["model"]["vocab"] if len(piece) == 1)
    made = dict.fromkeys(merge.replace(" ", "") for merge in merges)
    vocab = {piece: i for i, piece in enumerate([*letters, *made])}
    spec["model"] |= {"vocab": vocab, "merges": merges}  # as strings, as older files have them
    spec["post_processor"] = None
    for i, token in enumerate(spec["added_tokens"]):
        token["id"] = len(vocab) + i
    tokens = WhisperTokens(spec, len(vocab) + len(spec["added_tokens"]))
    assert len(tokens.encode(texts[0])) == 3  # the space, "abc" and one letter
    cut, old_ids = tokens.cut(texts)
    for text in texts:
        assert [old_ids[i] for i in cut.encode(text)] == tokens.encode(text)


def test_the_cut_is_a_complete_file(tmp_path: Path) -> None:
    import tokenizers

    multi = WhisperTokens(MULTI, N_VOCAB + 5, "de", multilingual=True)
    cut, _ = multi.cut(CUT_TEXTS)
    cut.save(tmp_path)
    loaded = WhisperTokens.load(tmp_path, len(cut), "de", multilingual=True)
    assert loaded.spec == cut.spec
    assert (loaded.prompt, loaded.eot) == (cut.prompt, cut.eot)
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    english = [plain.token_to_id("<|en|>") if i == 1 else t for i, t in enumerate(cut.prompt)]
    # the template that plain libraries put around a text speaks of the new ids
    assert plain.encode(" ahoj").ids == [*english, *cut.encode("ahoj"), cut.eot]
    ids = sorted({*plain.get_vocab(with_added_tokens=True).values()})
    assert ids == list(range(len(cut) - 5))  # no gaps; time stamps behind
    assert json.loads(tiny.tokenizer_json(multilingual=True)) == MULTI  # the source is left alone


@pytest.mark.real
def test_cut_of_the_real_vocabulary(tiny_en_dir: Path) -> None:
    tokens = WhisperTokens.load(tiny_en_dir, 51_864, "cs")
    assert not tokens.multilingual
    texts = ["tady plave ryba", "potápěč říká že žije na dně moře", "it's a well-known fact"]
    cut, old_ids = tokens.cut(texts)
    for text in texts:
        assert [old_ids[i] for i in cut.encode(text)] == tokens.encode(text)
    assert len(cut) < 256 + 100 + 1608
    assert [old_ids[i] for i in cut.prompt] == tokens.prompt == [50257, 50362]
    odd = "Привет, 世界! 🐟 \u0301x <|en|>"
    assert cut.decode(cut.encode(odd)) == odd


@pytest.mark.parametrize("content", ["{", "[]", '{"blank": 0}'])
def test_a_damaged_alphabet_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(BaseError, match=r"alphabet\.json cannot be read"):
        CharTokenizer.load(tmp_path)
    (tmp_path / "alphabet.json").write_text(content, "utf-8")
    with pytest.raises(BaseError, match=r"alphabet\.json cannot be read"):
        CharTokenizer.load(tmp_path)


# ---------------------------------------------------------------- BPE-dropout


@given(st.text(max_size=40))
def test_without_dropout_a_drawn_segmentation_is_the_usual_one(text: str) -> None:
    for tokens in (WHOLE, CUT):
        assert tokens.sample(text, 0.0, lambda: 0.0) == tokens.encode(text)


@given(st.text(max_size=40), st.integers(0, 99))
def test_dropout_spells_the_same_text_in_other_pieces(text: str, seed: int) -> None:
    rng = random.Random(seed)
    ids = CUT.sample(text, 0.5, rng.random)
    assert CUT.decode(ids) == CUT.decode(CUT.encode(text))
    assert len(ids) >= len(CUT.encode(text))
    assert max(ids, default=0) < CUT.eot


def test_full_dropout_leaves_bytes() -> None:
    assert len(WHOLE.sample("ahoj", 0.999, lambda: 0.5)) == len(b" ahoj")
