"""``xlasr score``: two files in, a scorecard out, as a person runs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from xlasr import cli
from xlasr.errors import DataError, UsageError
from xlasr.scoring import Counts, rate_interval, score, werr
from xlasr.scoring.scorecard import score_files

SRC = Path(__file__).parents[2] / "src"
LINES = [
    ("Je to Karel, pane?", "je to karel pane"),
    ("Mám 3 psy.", "mám 3 psi"),
    ("Loď odplula z Prahy.", "lod odplula z prahy"),
    ("To je vrak.", "to vrak"),
    ("Bude pršet.", "budepršet no"),
    ("Ano.", ""),
]
N_SCENES = 24


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reference with scenes, hypotheses in another order, a second system, terms, training."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{i}", f"s{i % N_SCENES}", *LINES[i % len(LINES)]) for i in range(60)]
    (tmp_path / "ref.tsv").write_text(
        "id\tscene\ttext\n" + "".join(f"{k}\t{g}\t{r}\n" for k, g, r, _ in rows)
    )
    (tmp_path / "hyp.jsonl").write_text(
        "".join(json.dumps({"id": k, "pred_text": h}) + "\n" for k, _, _, h in reversed(rows))
    )
    (tmp_path / "other.tsv").write_text("".join(f"{k}\t{h} hm\n" for k, _, _, h in rows))
    (tmp_path / "terms.txt").write_text("vrak\nloď\n")
    (tmp_path / "train.txt").write_text("Je to pes.\nTo je on.\nJe to vrak.\n")
    return tmp_path


def run(line: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(cli.app, ["score", *shlex.split(line)])


def test_the_card_is_what_its_parts_say(folder: Path) -> None:
    card = score_files(
        Path("ref.tsv"),
        Path("hyp.jsonl"),
        terms=Path("terms.txt"),
        training=Path("train.txt"),
        rare_below=3,
        against=Path("other.tsv"),
    )
    references = {f"u{i}": LINES[i % 6][0] for i in range(60)}
    groups = {f"u{i}": f"s{i % N_SCENES}" for i in range(60)}
    mine = score(references, {f"u{i}": LINES[i % 6][1] for i in range(60)}, groups)
    other = score(references, {f"u{i}": LINES[i % 6][1] + " hm" for i in range(60)}, groups)
    assert card.score == mine
    # ten times: 4 hits; 2 and psy-psi; 3 and loď-lod; 2 and je lost; two wrong; ano lost
    assert card.score.words == Counts(110, 40, 20, 0)
    assert (card.metric, card.unit) == ("wer", "scene")
    assert card.wer is not None and card.wer.n_groups == N_SCENES
    assert card.wer.low < card.wer.value == mine.wer < card.wer.high
    assert card.reductions == {"wer": werr(other, mine), "cer": werr(other, mine, "cer")}
    assert {m.name: m.recall for m in card.micro} == {"numbers": 1.0, "names": 1.0, "terms": 0.5}
    assert card.rare is not None and card.rare.threshold == 3
    assert card.rare.common == Counts(30, 0, 10, 0)  # je and to
    kinds = {k.name: k.word_errors for k in card.kinds}
    assert kinds["diacritics"] == 0  # as written the case of "Loď" is wrong too
    assert kinds["case and punctuation"] > 0
    assert card.pairs[0][2] == 10
    assert card.japanese is None and card.notes == []


def test_json_is_complete_and_plain(folder: Path) -> None:
    result = run("ref.tsv hyp.jsonl --json --terms terms.txt --train train.txt")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["score"]["words"] == {
        "hits": 110,
        "substitutions": 40,
        "deletions": 20,
        "insertions": 0,
    }
    assert content["wer"]["value"] == pytest.approx(60 / 170)
    assert content["wer"]["method"] == "bootstrap-t"
    assert len(content["score"]["utterances"]) == 60
    assert [m["name"] for m in content["micro"]] == ["numbers", "names", "terms"]
    assert content["rare_words"]["threshold"] == 5


def test_what_is_printed(folder: Path) -> None:
    printed = run(
        "ref.tsv hyp.jsonl --terms terms.txt --train train.txt --against other.tsv"
    ).stdout
    told = printed.replace("\u00a0", " ")
    for text in (
        "60 utterances, 24 groups by 'scene'; normaliser headline v1",
        "WER 35.3 %",
        "40 20 0 170",
        "WERR over the other system: 45.5 % (",  # 6 errors for 11 ("hm" for "ano" is one as well)
        "rare is below 5; 9 training words, 5 different",
        "terms missed most: loď (0 of 10)",
        "diacritics",
        "loď lod 10",
        "worst lines",
        "[-ano]",
    ):
        assert text in " ".join(told.split()), text
    assert "note:" not in told
    brief = run("ref.tsv hyp.jsonl --lines 0").stdout
    assert "worst lines" not in brief and "WER" in brief


def test_without_groups_and_with_one_it_says_what_the_interval_is_worth(folder: Path) -> None:
    told = " ".join(run("ref.tsv hyp.jsonl --ref-column group= --lines 0").stdout.split())
    assert "note: over utterances, not groups" in told and "groups by" not in told
    rows = (folder / "ref.tsv").read_text().splitlines()
    one = [rows[0], *(row.replace(row.split("\t")[1], "jan", 1) for row in rows[1:])]
    (folder / "one.tsv").write_text("\n".join(one) + "\n")
    told = " ".join(run("one.tsv hyp.jsonl --lines 0").stdout.split())
    assert "n/a" in told and "note: no interval: one group only (one speaker," in told
    few = [row.replace(row.split("\t")[1], f"v{i % 7}", 1) for i, row in enumerate(rows[1:])]
    (folder / "few.tsv").write_text("\n".join([rows[0], *few]) + "\n")
    told = " ".join(run("few.tsv hyp.jsonl --lines 0").stdout.split())
    assert "note: only 7 groups: by bootstrap-t, and rough" in told


def test_an_id_on_one_side_only_is_named(folder: Path) -> None:
    lines = (folder / "hyp.jsonl").read_text().splitlines()
    (folder / "short.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match=r"short.jsonl: .* 1 without a hypothesis: 'u59'"):
        score_files(Path("ref.tsv"), Path("short.jsonl"))
    (folder / "long.jsonl").write_text("\n".join([*lines, '{"id": "typo", "text": ""}']) + "\n")
    with pytest.raises(DataError, match="line 61 has no 'pred_text'"):
        score_files(Path("ref.tsv"), Path("long.jsonl"))
    extra = [*lines, '{"id": "typo", "pred_text": ""}']
    (folder / "long.jsonl").write_text("\n".join(extra) + "\n")
    with pytest.raises(DataError, match="1 hypotheses without a reference: 'typo'"):
        score_files(Path("ref.tsv"), Path("long.jsonl"))
    with pytest.raises(DataError, match=r"ref.tsv and long.jsonl: .*'typo'"):
        score_files(Path("ref.tsv"), Path("hyp.jsonl"), against=Path("long.jsonl"))


@pytest.mark.parametrize(
    ("line", "error", "told"),
    [
        ("ref.tsv hyp.jsonl --costs sclit", UsageError, "Did you mean 'sclite'"),
        ("ref.tsv gone.tsv", DataError, "cannot read gone.tsv"),
        ("ref.tsv hyp.jsonl --normaliser headlin", UsageError, "Did you mean 'headline'"),
        ("ref.tsv hyp.jsonl --ref-column text", UsageError, "--ref-column takes field=column"),
        ("ref.tsv hyp.jsonl --hyp-column txt=a", UsageError, "unknown field 'txt'"),
        ("ref.tsv hyp.jsonl --hyp-column text=a", DataError, "no column 'a'"),
        ("ref.tsv hyp.jsonl --terms gone.txt", DataError, "cannot read gone.txt"),
        ("ref.tsv hyp.jsonl --train gone.txt", DataError, "cannot read gone.txt"),
    ],
)
def test_wrong_calls_are_told(folder: Path, line: str, error: type[Exception], told: str) -> None:
    result = run(line)
    assert isinstance(result.exception, error)
    assert told in str(result.exception)
    assert run("ref.tsv hyp.jsonl --rare-below 0").exit_code == 2


def test_the_costs_of_sclite_count_as_sclite_does(folder: Path) -> None:
    # five substitutions are the fewest errors; sclite would rather keep two hits, with six
    (folder / "r.tsv").write_text("id\tscene\ttext\n1\ts\ta a a b b\n")
    (folder / "h.tsv").write_text("1\tb b c c a\n")
    ours = score_files(Path("r.tsv"), Path("h.tsv"))
    theirs = score_files(Path("r.tsv"), Path("h.tsv"), against=Path("h.tsv"), costs="sclite")
    assert (ours.score.words, theirs.score.words) == (Counts(0, 5, 0, 0), Counts(2, 0, 3, 3))
    assert theirs.raw.costs == "sclite" and theirs.reductions["wer"].value == 0.0
    told = " ".join(run("r.tsv h.tsv --costs sclite").stdout.split())
    assert "costs of sclite" in told
    assert "costs of" not in run("r.tsv h.tsv").stdout
    japanese(folder)
    card = score_files(Path("ja.tsv"), Path("heard.tsv"), costs="sclite")
    assert card.japanese is not None and card.japanese.words.costs == "sclite"


def japanese(folder: Path) -> None:
    (folder / "ja.tsv").write_text("id\ttext\n1\t東京に、行きました。\n2\t急性脳炎です\n")
    (folder / "heard.tsv").write_text("1\tとうきょうにいきました\n2\t急性農園です\n")
    (folder / "domain.txt").write_text("脳炎\n")


def test_scripts_without_spaces_get_cer_and_japanese_its_three_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    japanese(folder)
    card = score_files(Path("ja.tsv"), Path("heard.tsv"), terms=Path("domain.txt"))
    assert (card.metric, card.wer, card.score.normaliser) == ("cer", None, "unspaced")
    assert card.japanese is not None and card.japanese.reading_cer == 0.0
    assert {m.name: m.recall for m in card.micro}["terms"] == 0.0
    told = " ".join(run("ja.tsv heard.tsv").stdout.replace("\u00a0", " ").split())
    for text in (
        "CER 57.1 %",
        "WER, MeCab words (fugashi",
        "CER, kana and kanji of one reading equal 0.0 %",
        "note: no spaces between words in this script",
    ):
        assert text in told, text
    assert "WER as written" not in told
    assert card.to_dict()["japanese"]["mecab_wer"]["interval"]["method"] == "none"
    many = "".join(f"{i}\tg{i % 8}\t東京に、行きました。\n" for i in range(16))
    heard = "".join(
        f"{i}\t{'とうきょうにいきました' if i % 8 < 3 else '東京に行った'}\n" for i in range(16)
    )
    (folder / "many.tsv").write_text(f"id\tgroup\ttext\n{many}")
    (folder / "many_heard.tsv").write_text(heard)
    found = score_files(Path("many.tsv"), Path("many_heard.tsv")).japanese
    assert found is not None
    rows = run("many.tsv many_heard.tsv").stdout.replace("\u00a0", " ").splitlines()
    row = next(line for line in rows if "of one reading equal" in line or "reading equal" in line)
    ends = rate_interval(found.readings, "cer").ends
    assert f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}" in row
    forced = score_files(Path("ja.tsv"), Path("heard.tsv"), normaliser="headline")
    assert (forced.score.normaliser, forced.metric) == ("headline", "cer")

    (folder / "zh.tsv").write_text("1\t你好，世界\n")
    assert score_files(Path("zh.tsv"), Path("zh.tsv")).japanese is None

    def missing(*_: Any) -> Any:
        raise UsageError("fugashi is not installed")

    monkeypatch.setattr("xlasr.scoring.scorecard.score_japanese", missing)
    without = score_files(Path("ja.tsv"), Path("heard.tsv"))
    assert without.japanese is None and "fugashi is not installed" in without.notes


def test_it_needs_no_torch_and_no_model(folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['xlasr', 'score', 'ref.tsv', 'hyp.jsonl']\n"
        "from xlasr.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    print('exit', stop.code)\n"
        "print('HEAVY', [m for m in ('torch', 'transformers', 'lhotse') if m in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert "HEAVY []" in done.stdout and "exit 0" in done.stdout
