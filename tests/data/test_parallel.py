"""Parallel and plain text: what is an error, what is left out and counted, what it costs."""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import parallel_text
from tests.conftest import fetched

from xlasr.data.card import Card
from xlasr.data.corpus import Utterance
from xlasr.data.language import identifier
from xlasr.data.parallel import (
    Pair,
    ParallelText,
    clean,
    read_lines,
    read_pairs,
    training_pairs,
    write_pairs,
)
from xlasr.data.readers.debian import fetch
from xlasr.data.splits import side_of
from xlasr.data.text import normalise
from xlasr.data.writing import write_corpus
from xlasr.errors import DataError

GOOD = [
    ("What is that?", "Co je to?"),
    ("I do not know where we are.", "Nevím, kde to vlastně jsme."),
    ("Somebody has lost a golden crown.", "Někdo tu ztratil zlatou korunu, podívej."),
    ("This old ship sank long ago.", "Tahle stará loď se potopila už dávno."),
]


def write(folder: Path, pairs: list[tuple[str, str]], name: str = "en-cs.tsv") -> Path:
    path = folder / name
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def test_pairs_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    # a byte order mark, Windows' line ends, a separator that is no line end, a decomposed letter
    path.write_bytes("\ufeffa  b\tc\u2028d\r\nWho?\tKdo pr\u030ci\u0301?".encode())
    text = read_pairs(path)
    assert [(p.source, p.text) for p in text] == [("a b", "c d"), ("Who?", "Kdo př\u00ed?")]
    assert text.is_pairs and text.name == "t.tsv"
    # the longer side, 15 characters a second
    assert text.durations_s.tolist() == pytest.approx([3 / 15, 8 / 15])
    assert read_pairs(write(tmp_path, GOOD)).sha256 != text.sha256
    write_pairs(text, tmp_path / "again.tsv")
    assert read_pairs(tmp_path / "again.tsv").pairs == text.pairs


def test_unequal_sides_are_an_error_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text("a\tb\nonly one side\n\tno source\nno target\t \na\tb\tc\n\nx\ty\nz\nz\n")
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 7 of its lines are no source<TAB>target pair: ")
    for part in (
        "line 2 has 0 tabs: 'only one side'",
        "line 3 has an empty source",
        "line 4 has an empty target",
        "line 5 has 2 tabs: 'a\\tb\\tc'",
        "line 6 has 0 tabs: ''",
        "; and 2 more",
    ):
        assert part in message


@pytest.mark.parametrize("read", [read_pairs, read_lines])
def test_files_that_are_no_text(tmp_path: Path, read: object) -> None:
    path = tmp_path / "t.txt"
    for content, message in ((b"caf\xe9\tx\n", "as UTF-8"), (b"", "no text in it")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read(path)  # type: ignore[operator]
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "none.txt")  # type: ignore[operator]


def test_poor_pairs_are_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    poor = [
        ("what is  that", "Co je to."),  # said before, in other clothes
        ("Wait.", "Počkej chvíli, já se tam podívám sám a pak ti řeknu, co tam je."),
        ("I would rather stay at home with all my friends today.", "Ne."),
        ("Good morning, would you like a cup of tea?", "Guten Morgen, wollen Sie eine Tasse Tee?"),
        ("Nobody will ever find us in here.", "Nobody will ever find us in here."),
        ("ESP", "Paranormální jev"),  # short lines may differ as much as they like
        ("No.", "Nein, nein."),  # too short to be judged
    ]
    text = clean(read_pairs(write(tmp_path, GOOD + poor)), "cs")
    assert [(p.source, p.text) for p in text] == [*GOOD, poor[5], poor[6]]
    assert text.left_out == {
        "said before in the file": 1,
        "over 3 times longer or shorter than usual for its source": 2,
        "not in cs": 2,
    }
    assert text.notes == ()
    with pytest.raises(DataError, match=r"no pair is left to train on \(1 not in cs\)"):
        clean(read_pairs(write(tmp_path, [(GOOD[2][1], GOOD[2][0])])), "cs")


def test_languages_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    """Norwegian is hardly Danish to the identifier, and yet no wrong language."""
    line = "Vi skal ikke gjøre det i dag, sa hun til vennene sine. "
    line += "Hva slags bil er det du har kjøpt deg nå?"
    assert dict(identifier().rank(line))["da"] < 0.01
    path = write(tmp_path, [("We shall not do it today, she said to her friends.", line)])
    for tag in ("nb", "da"):
        assert clean(read_pairs(path), tag).left_out == {}
    with pytest.raises(DataError, match="1 not in sv"):
        clean(read_pairs(path), "sv")


def test_the_usual_ratio_is_that_of_the_file(tmp_path: Path) -> None:
    """Chinese writes a sentence in a third of the characters; nothing is wrong with that."""
    pairs = [("Please enter the number of your mailbox.", "请输入您的邮箱号码。")] * 2
    pairs += [("Your call could not be completed today.", "今天无法接通您的电话。")]
    text = clean(read_pairs(write(tmp_path, pairs)), "zh")
    assert text.left_out == {"said before in the file": 1}


@pytest.mark.parametrize(
    ("tag", "installed", "note"),
    [("hsb", True, "does not know 'hsb'"), ("cs", False, r"pip install 'xlasr\[check\]'")],
)
def test_what_nobody_can_judge_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, installed: bool, note: str
) -> None:
    identifier.cache_clear()
    if not installed:
        monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    line = "Nobody will ever find us in here."
    text = clean(read_pairs(write(tmp_path, [("x y z x y z x y z x y z", line)])), tag)
    assert [p.text for p in text] == [line]
    with pytest.raises(DataError, match=note):
        raise DataError(" ".join(text.notes))


def test_plain_text_and_the_transcripts_of_train(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("Ahoj,  rybo.\n\nKde jsi?\n", encoding="utf-8")
    text = read_lines(path)
    assert [(p.source, p.text) for p in text] == [("Ahoj, rybo.",) * 2, ("Kde jsi?",) * 2]
    assert text.left_out == {"empty line": 1} and not text.is_pairs
    assert clean(text, "cs").left_out == {"empty line": 1}

    def said(*lines: str) -> list[Utterance]:
        return [
            Utterance(line, tmp_path / "x.wav", 0.0, 1.0, line, "cs", None, group=line)
            for line in lines
        ]

    from xlasr.data.audio import write_wav

    write_wav(tmp_path / "x.wav", np.zeros(16_000, dtype=np.float32))
    splits = {"train": said("Ano.", "Jo."), "dev": said("Tři."), "test": said("Pět.")}
    corpus = write_corpus(tmp_path / "corpus", splits, Card(language="cs"))
    found: ParallelText = read_lines(corpus.path)
    assert [p.text for p in found] == ["Ano.", "Jo."]
    assert found.sha256 == corpus.sha256


def test_no_line_of_a_held_out_group_is_paired() -> None:
    sides = {g: side_of(g) for g in (f"scene{i}" for i in range(40))}
    train, dev, test = (
        [g for g, s in sides.items() if s == wanted] for wanted in ("train", "dev", "test")
    )
    english = {
        "1": (train[0], "Good day."),
        "2": (train[1], "Who are you?"),
        "3": (train[1], "Yes."),  # said in a test group as well
        "4": (train[2], "Never."),  # its Czech is said in a dev group
        "5": (train[2], "..."),
        "6": (dev[0], "A dev line."),
        "7": (test[0], "A test line."),
        "8": (test[1], "YES"),  # has no Czech
        "10": (train[3], "Nobody knows it in Czech."),
    }
    czech = {
        "7": (test[0], "Testová."),
        "6": (dev[0], "Vývojová."),
        "5": (train[2], "Hm."),
        "4": (train[2], "Nikdy!"),
        "3": (train[1], "Ano."),
        "2": (train[1], "Kdo jsi?"),
        "1": (train[0], "Dobrý\nden."),
        "9": (dev[0], "nikdy"),  # has no English
        "11": (train[4], "Bez angličtiny."),
    }
    pairs, left_out = training_pairs(english, czech)
    assert pairs == [Pair("Who are you?", "Kdo jsi?"), Pair("Good day.", "Dobrý den.")]
    assert left_out == {
        "of a dev or test group": 3,
        "without words on one side": 2,
        "said in a dev or test group too": 2,
    }
    # another fold has other groups
    turned = {g for g in sides if side_of(g, fold="2/4") != "train"}
    assert turned != set(dev + test)
    lines = {g: (g, f"text of {g}") for g in sides}
    pairs, _ = training_pairs(lines, lines, fold="2/4")
    assert {p.text.removeprefix("text of ") for p in pairs} == set(sides) - turned


@pytest.mark.real
@pytest.mark.parametrize(
    ("work", "source", "target", "least"),
    [("fillets", "en", "cs", 1200), ("fillets", "nl", "it", 900), ("asterisk", "es", "it", 250)],
)
def test_the_real_parallel_text_has_no_line_of_dev_and_test(
    tmp_path: Path, work: str, source: str, target: str, least: int
) -> None:
    out = tmp_path / "text" / "pairs.tsv"
    fetched(lambda: parallel_text.main([work, source, target, str(out)]) or out)
    text = read_pairs(out)
    assert len(text) > least
    # every line of a held-out group, read once more by hand
    package = "fillets-ng-data" if work == "fillets" else "asterisk-core-sounds-{}"
    for language, said in ((source, {p.source for p in text}), (target, {p.text for p in text})):
        held_out, known = set(), set()
        root = fetch(package.format(language))
        if work == "fillets":
            field = 2 if language == "en" else 0
            call = {"en": r'dialogId\((".*?"), *(".*?"), *"(.*)"\)'}
            pattern = call.get(language, r'dialogStr\("(.*)"\)')
            for path in root.rglob(f"dialogs_{language}.lua"):
                lines = [m[field + 1] for m in re.finditer(pattern, path.read_text("utf-8"))]
                (known if side_of(path.parent.name) == "train" else held_out).update(lines)
        else:
            path = next(root.rglob("core-sounds-*.txt.gz"))
            for line in gzip.decompress(path.read_bytes()).decode().splitlines():
                key, _, prompt = line.partition(":")
                side = side_of(key.strip().lower())
                (known if side == "train" else held_out).add(prompt)
        held_out, known = ({normalise(t) for t in texts} for texts in (held_out, known))
        said = {normalise(t) for t in said}
        assert len(held_out) > 100
        assert not said & held_out
        assert len(said & known) > 0.9 * len(said)  # so that the comparison compares


@pytest.mark.real
def test_all_is_every_work_that_has_both_languages() -> None:
    build = parallel_text.build
    fetched(lambda: build("all", "en", "it") and Path())
    (game, of_game), (prompts, of_prompts) = (build(w, "en", "it") for w in ("fillets", "asterisk"))
    pairs, left_out = build("all", "en", "it")
    assert pairs == [*game, *prompts] and len(prompts) > 250
    key = "of a dev or test group"
    assert left_out[key] == of_game[key] + of_prompts[key]
    assert build("all", "en", "cs") == build("fillets", "en", "cs")
