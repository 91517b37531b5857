"""The layouts of the free speech, in miniature; and the real thing where it can be fetched."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from xlasr.data.corpus import Corpus
from xlasr.data.prepare import prepare
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import SOURCES, ReadOptions, asterisk, fillets, guess_reader
from xlasr.data.readers.debian import KNOWN_SHA256
from xlasr.data.splits import side_of
from xlasr.data.text import normalise
from xlasr.errors import DataError

SCRIPT = r"""
-- Intro
dialogId("a-hello", "font_small", "Hello, \"you\".")
dialogStr("Ahoj, \"ty\" v C:\\WINDOWS.")

dialogId("a-long", "font_big",
         "A line that is
broken.")
dialogStr("Zalomená
věta.")
dialogId("a-nobody", "font_big", "Unspoken.")
dialogStr("Nikdo.")
dialogId("a-empty", "", "")
dialogStr("")
dialogId("a-orphan", "font_big", "No string follows.")

dialogId("a-last", "font_linuxer1", "Last.")
dialogStr("Poslední.")
"""


@pytest.fixture
def game(tmp_path: Path) -> Path:
    script = tmp_path / fillets.GAME / "script" / "aquarium"
    sounds = tmp_path / fillets.GAME / "sound" / "aquarium" / "cs"
    script.mkdir(parents=True)
    sounds.mkdir(parents=True)
    (script / "dialogs_cs.lua").write_text(SCRIPT, "utf-8")
    for name in ("a-hello", "a-long", "a-empty", "a-last", "a-noise"):
        sf.write(sounds / f"{name}.ogg", np.random.default_rng(0).uniform(-0.3, 0.3, 9000), 22_050)
    return tmp_path


def test_dialogues_in_miniature(game: Path) -> None:
    quarantine = Quarantine()
    assert guess_reader(game) == "fillets"
    records = {r.id: r for r in fillets.read(game, ReadOptions("cs"), quarantine)}
    hello = records["aquarium.a-hello"]
    assert hello.text == 'Ahoj, "ty" v C:\\WINDOWS.'
    assert hello.custom == {"translation_en": 'Hello, "you".'}
    assert (hello.speaker, hello.group) == ("small", "aquarium")
    assert records["aquarium.a-long"].text == "Zalomená\nvěta."
    assert records["aquarium.a-last"].speaker == "linuxer1"
    assert sorted(records) == [f"aquarium.a-{x}" for x in ("empty", "hello", "last", "long")]
    assert [(e.record, e.reason) for e in quarantine] == [
        ("aquarium.a-noise", "missing text"),
        ("aquarium.a-nobody", "missing audio"),
    ]
    with pytest.raises(DataError, match=r"dialogs_sk\.lua"):
        list(fillets.read(game, ReadOptions("sk"), quarantine))
    corpus = prepare(game, game / "corpus", language="cs", progress=False)
    assert corpus.card.quarantined == {"missing text": 1, "missing audio": 1, "empty text": 1}
    assert [u.text for u in corpus.split("train")][1] == "Poslední."


def test_prompts_in_miniature(tmp_path: Path) -> None:
    sounds = tmp_path / asterisk.SOUNDS / "it_IT_m_Carlo"
    doc = tmp_path / "usr/share/doc/asterisk-core-sounds-it"
    (sounds / "letters").mkdir(parents=True)
    doc.mkdir(parents=True)
    english = tmp_path / "usr/share/doc/asterisk-core-sounds-en"
    english.mkdir()
    with gzip.open(english / "core-sounds-en.txt.gz", "wt", encoding="utf-8") as file:
        file.write("hello: Hello world.\nletters/O: [a sound]\nsilent: Hush\n")
    for key in ("hello", "beep", "letters/O", "unknown"):
        # Any bytes are G.722: 64 kbit/s, so 8000 of them are a second.
        (sounds / f"{key}.g722").write_bytes(np.random.default_rng(1).bytes(8000))
    lines = "; a comment: here\nhello: Ciao: mondo.\nbeep: [un tono]\nletters/O: o\nsilent: Zitto\n"
    with gzip.open(doc / "core-sounds-it.txt.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    assert guess_reader(tmp_path) == "asterisk"
    corpus = prepare(tmp_path, tmp_path / "corpus", language="it", progress=False)
    assert corpus.card.quarantined == {"missing audio": 1, "missing text": 1, "not speech": 1}
    got = {u.id: u for name in corpus.splits for u in corpus.split(name)}
    assert got["hello"].text == "Ciao: mondo." and got["hello"].speaker == "it_IT_m_Carlo"
    assert got["hello"].custom["translation_en"] == "Hello world."
    assert "translation_en" not in got["letters/O"].custom  # what is not words is no translation
    assert got["letters/O"].group == "letters/o"  # the same prompt as "letters/o" elsewhere
    assert got["hello"].duration_s == pytest.approx(1.0, abs=0.01)


def test_a_second_voice_has_the_texts_of_the_first(tmp_path: Path) -> None:
    sounds = tmp_path / asterisk.SOUNDS / "fr"
    doc = tmp_path / "usr/share/doc/asterisk-core-sounds-fr"
    sounds.mkdir(parents=True)
    doc.mkdir(parents=True)
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, 8000)
    sf.write(sounds / "bye.gsm", noise, 8000, format="RAW", subtype="GSM610")
    sf.write(sounds / "indigen.gsm", noise, 8000, format="RAW", subtype="GSM610")
    with gzip.open(doc / "core-sounds-fr.txt.gz", "wt", encoding="utf-8") as file:
        file.write("bye: Au revoir.\nhello: Bonjour.\n")
    corpus = prepare(tmp_path, tmp_path / "corpus", language="fr", progress=False)
    assert corpus.card.quarantined == {"missing audio": 1, "missing text": 1}
    (utterance,) = corpus.split("train")
    assert (utterance.text, utterance.speaker) == ("Au revoir.", "fr")
    assert "translation_en" not in utterance.custom  # no English there
    assert utterance.duration_s == pytest.approx(1.0, abs=0.05)


def test_every_source_is_pinned_and_licensed() -> None:
    pinned = {name.split("_")[0] for name in KNOWN_SHA256}
    for name in SOURCES:
        source = SOURCES[name]
        assert set(source.packages) <= pinned
        free = {"GPL-2.0-only", "GPL-3.0-or-later", "CC-BY-SA-3.0", "LicenseRef-BSD-style"}
        assert set(source.licence.split(" AND ")) <= free
        assert source.language in name and source.attribution and source.about


@pytest.fixture(scope="module")
def dialogues(
    tmp_path_factory: pytest.TempPathFactory, fillets_tree: Path, dutch_tree: Path
) -> dict[str, Corpus]:
    out = tmp_path_factory.mktemp("corpora")
    return {
        language: prepare(f"fillets-{language}", out / language, progress=False)
        for language in ("cs", "nl")
    }


@pytest.fixture(scope="module")
def dutch_tree(fillets_tree: Path) -> Path:
    from xlasr.data.readers.debian import fetch_tree

    try:
        return fetch_tree(SOURCES["fillets-nl"].packages)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.real
@pytest.mark.slow
def test_the_real_dialogues(dialogues: dict[str, Corpus]) -> None:
    for language, total in (("cs", 97), ("nl", 90)):
        corpus = dialogues[language]
        corpus.verify()
        stats = corpus.card.splits
        assert corpus.card.minutes == pytest.approx(total, abs=1)
        assert stats["test"].minutes >= 20 and stats["test"].groups >= 16
        assert 9 <= stats["dev"].minutes <= 11
        assert stats["train"].minutes >= 60
        heard = {name: {normalise(u.text) for u in corpus.split(name)} for name in corpus.splits}
        assert not heard["train"] & (heard["dev"] | heard["test"])
        assert not heard["dev"] & heard["test"]
        assert sum(corpus.card.dropped.values()) in (8, 11)


@pytest.mark.real
@pytest.mark.slow
def test_a_scene_is_on_one_side_in_every_language(dialogues: dict[str, Corpus]) -> None:
    sides: dict[str, set[str]] = {}
    for corpus in dialogues.values():
        for name in corpus.splits:
            for utterance in corpus.split(name):
                sides.setdefault(utterance.group, set()).add(name)
                assert side_of(utterance.group) == name
    assert len(sides) >= 78
    assert all(len(where) == 1 for where in sides.values())
    # And so no line of the Czech test, told in Dutch, is trained on.
    ids = {
        name: {u.id for corpus in dialogues.values() for u in corpus.split(name)}
        for name in ("train", "test")
    }
    assert not ids["train"] & ids["test"]


@pytest.mark.real
def test_the_real_prompts(asterisk_tree: Path, tmp_path: Path) -> None:
    corpus = prepare("asterisk-en", tmp_path / "en", progress=False)
    assert corpus.card.minutes == pytest.approx(23.7, abs=0.5)
    assert corpus.card.licence == "CC-BY-SA-3.0"
    assert corpus.card.quarantined == {"not speech": 17, "missing audio": 1}
    goodbye = [u for n in corpus.splits for u in corpus.split(n) if u.id == "vm-goodbye"]
    assert [normalise(u.text) for u in goodbye] == ["goodbye"]
    lines = (corpus.path / "quarantine.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"not speech", "missing audio"}
