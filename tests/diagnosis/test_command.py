"""``xlasr check``: page, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.diagnosis.patients import Splits, rewrite, written
from tests.diagnosis.test_suspects import run_of
from typer.testing import CliRunner, Result

import xlasr
from xlasr.cli.app import app
from xlasr.errors import UsageError


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, words)], env={"COLUMNS": "80"})


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_page_and_its_exit_code(tmp_path: Path, splits: Splits) -> None:
    good = written(tmp_path / "good", splits)
    page = run(good.path)
    assert page.exit_code == 0
    assert "0 blocking, 0 warnings, 2 notes" in page.output  # small test, little to train on
    assert "in order: " in page.output and "test_minutes 20" in flat(page.output)

    rewrite(splits, "train-3", text="...")
    rewrite(splits, "train-4", text="[i]" + splits["train"][4].text)  # no markup of rich
    bad = written(tmp_path / "bad", splits)
    page = run(bad.path)
    assert page.exit_code == 1
    assert "BLOCKING empty text [--fix]" in flat(page.output)
    assert page.output.index("BLOCKING") < page.output.index("WARNING") < page.output.index("NOTE")
    assert "train/train-3" in page.output and "[i] (x1)" in page.output
    assert max(map(len, page.output.splitlines())) <= 80


def test_json_has_every_record(tmp_path: Path, splits: Splits) -> None:
    for i in range(20):
        rewrite(splits, f"train-{i}", text=f"{splits['train'][i].text} 7")
    corpus = written(tmp_path / "corpus", splits)
    assert "and 16 more" in flat(run(corpus.path, "--no-audio").output)
    found = json.loads(run(corpus.path, "--json", "--no-audio").stdout)
    (figures,) = (f for f in found["findings"] if f["name"] == "figures")
    assert [r["id"] for r in figures["records"]] == [f"train-{i}" for i in range(20)]
    assert found["exit_code"] == 0 and found["counts"]["warning"] == 1
    assert found["thresholds"]["snr_db"] == 8.0


def test_fix(tmp_path: Path, splits: Splits) -> None:
    rewrite(splits, "train-3", text="...")
    corpus = written(tmp_path / "corpus", splits)
    page = run(corpus.path, "--fix", tmp_path / "new")
    assert page.exit_code == 0  # nothing blocking is left in the new one
    assert "1 x left out: empty text" in page.output
    assert "a second look: 0 blocking, 0 warnings, 2 notes" in page.output
    assert len(xlasr.Corpus.open(tmp_path / "new").split("train")) == 59
    del splits["dev"]  # which no repair brings back
    corpus = written(tmp_path / "undeveloped", splits)
    result = run(corpus.path, "--fix", tmp_path / "new2", "--json")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)["repair"]
    assert facts["counts"] == {"left out: empty text": 1}
    assert [f["name"] for f in facts["left"]["findings"] if f["severity"] == "blocking"] == [
        "no dev"
    ]


def test_suspects(tmp_path: Path, splits: Splits) -> None:
    corpus = written(tmp_path / "corpus", splits)
    words = ("--suspects", "--run", run_of(tmp_path), "--split", "dev", "--lines", 3)
    page = run(corpus.path, "--no-audio", *words)
    assert page.exit_code == 0
    assert "suspects: the worst 3 of 8" in page.output
    assert page.output.count("heard ") == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--suspects",), "give both"),
        (("--run", "somewhere"), "give both"),
        (("--split", "dev"), "is for --suspects"),
        (("--fix", "."), "left alone"),
        (("--recipe", "ctc"), "add --base"),
    ],
)
def test_wrong_calls(tmp_path: Path, splits: Splits, words: tuple[str, ...], told: str) -> None:
    corpus = written(tmp_path / "corpus", splits)
    result = run(corpus.path, "--no-audio", *words)
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)


def test_the_function(tmp_path: Path, splits: Splits) -> None:
    found = xlasr.check(written(tmp_path / "corpus", splits).path, audio=False)
    assert isinstance(found, xlasr.Diagnosis)
    assert [f.severity for f in found.findings] == ["note", "note"]


def test_the_doctor_is_light() -> None:
    code = (
        "import sys, xlasr.diagnosis, xlasr.diagnosis.repair, xlasr.diagnosis.suspects\n"
        "heavy = ('torch', 'transformers', 'lhotse', 'py3langid', 'confusable_homoglyphs')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
