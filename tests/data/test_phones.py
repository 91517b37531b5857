"""Phones of known words, and what is one phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlasr.data.card import Card
from xlasr.data.corpus import Utterance
from xlasr.data.phones import PhoneSplit, check_phones, in_form, phonemise, split_in_form
from xlasr.data.writing import write_corpus
from xlasr.errors import DataError
from xlasr.models.tokenizer import CharTokenizer

pytest.importorskip("espeakng_loader")

# by hand, from Palková's Fonetika češtiny and the Accademia della Crusca's rules of gemination;
# r̝ is ř, r̝̊ its voiceless kind; a final consonant of Czech is voiceless
CZECH = {
    "čeština": "tʃ e ʃ c i n a",
    "loď": "l o c",
    "řeka": "r̝ e k a",
    "tři": "t r̝̊ i",
    "dcera": "t ts e r a",  # of which espeak-ng says the first consonant too
    "dům": "d uː m",
    "auto": "aʊ t o",
    "mouka": "m oʊ k a",
    "chleba": "x l e b a",
    "led": "l e t",
}
ITALIAN = {
    "ciao": "tʃ a o",
    "pizza": "p i tsː a",
    "gnocchi": "ɲ o kː ɪ",
    "fatto": "f a tː o",
    "rosso": "r o sː o",
    "figlio": "f i ʎ o",
    "scena": "ʃ ɛ n a",
    "giorno": "dʒ o r n o",
}


@pytest.mark.parametrize(("language", "words"), [("cs", CZECH), ("it", ITALIAN)])
def test_known_words(language: str, words: dict[str, str]) -> None:
    assert {word: phonemise(word, language) for word in words} == words


def test_what_is_left_out() -> None:
    # stress, word boundaries, pauses at punctuation, the hyphen of a liaison, changes of language
    assert phonemise("Ahoj, rybo!", "cs") == "a h o j r i b o"
    assert phonemise("de votre", "fr") == "d ə v o t ʁ"
    assert phonemise("...", "cs") == phonemise(" !?", "cs") == phonemise("", "cs") == ""
    found = phonemise("東京 tower", "ja")
    assert not set("ˈˌ_()- ") & set(found.replace(" ", ""))
    assert "  " not in found


def test_a_tag_with_a_region_and_one_that_is_unknown() -> None:
    assert phonemise("čtyři", "cs-CZ") == phonemise("čtyři", "cs")
    assert phonemise("bird", "en-US") != phonemise("bird", "es")
    check_phones("cs-CZ")
    for call in (check_phones, lambda tag: phonemise("ahoj", tag)):
        with pytest.raises(DataError, match="no voice for 'qaa'"):
            call("qaa")
    # an unknown one leaves the voice of the one before untouched
    assert phonemise("loď je", "cs").startswith("l o ")


def test_forms_of_a_text() -> None:
    assert in_form("Loď!", "phones", "cs") == "l o c"
    assert in_form("Loď!", "headline", "cs") == "loď"
    assert in_form("Loď!", "raw", "cs") == "Loď!"


def test_an_affricate_a_diphthong_and_a_long_vowel_are_one_symbol() -> None:
    texts = ["tʃ e aʊ t", "aː t ts", "ʃ e"]
    tokenizer = CharTokenizer.from_texts(texts, spaced=True)
    assert tokenizer.symbols == sorted(["tʃ", "e", "aʊ", "t", "aː", "ts", "ʃ"])
    ids = tokenizer.encode("tʃ e aʊ t")
    assert len(ids) == 4
    assert tokenizer.decode(ids) == "tʃ e aʊ t"
    assert tokenizer.encode("t ʃ") != tokenizer.encode("tʃ")
    assert tokenizer.encode("tʃ œ e") == tokenizer.encode("tʃ e")
    assert tokenizer.unknown(["œ œ tʃ", "y"]) == {"œ": 2, "y": 1}
    wider = tokenizer.extended(["dʒ tʃ"])
    assert wider.symbols == [*tokenizer.symbols, "dʒ"] and wider.spaced
    letters = CharTokenizer.from_texts(texts)
    assert "tʃ" not in letters.symbols and " " in letters.symbols


def test_the_kind_of_symbols_is_kept_on_disk(tmp_path: Path) -> None:
    CharTokenizer(["tʃ", "a"], spaced=True).save(tmp_path)
    assert CharTokenizer.load(tmp_path).encode("a tʃ") == [2, 1]
    # one that was written before there were phones
    (tmp_path / "alphabet.json").write_text('{"blank": 0, "symbols": ["t", " "]}')
    old = CharTokenizer.load(tmp_path)
    assert old.encode("t t") == [1, 2, 1] and not old.spaced


def test_a_split_of_phones(tmp_path: Path) -> None:
    from tests.training.small import write_speech

    corpus = write_speech(tmp_path / "c", train=["abc", "Fed!"], dev=["cab"])
    split = corpus.split("train")
    phones = split_in_form(split, "phones")
    assert [u.text for u in phones] == [phonemise(u.text, "cs") for u in split]
    assert phones[1].text == phonemise("Fed!", "cs")
    assert isinstance(phones, PhoneSplit) and split_in_form(phones, "phones") is phones
    assert split_in_form(split, "headline") is split
    assert phones.sha256 == split.sha256 and phones.durations_s.tolist()


def test_every_utterance_is_read_in_its_own_language(tmp_path: Path) -> None:
    from tests.training.small import utterance

    (tmp_path / "audio").mkdir()
    both = [
        utterance(tmp_path / "audio", tag, "ciao", language=tag, samples=None)
        for tag in ("it", "cs")
    ]
    assert isinstance(both[0], Utterance)
    corpus = write_corpus(tmp_path / "c", {"train": both}, Card(language="it"))
    assert [u.text for u in split_in_form(corpus.split("train"), "phones")] == [
        phonemise("ciao", "it"),
        phonemise("ciao", "cs"),
    ]
    assert phonemise("ciao", "it") != phonemise("ciao", "cs")
