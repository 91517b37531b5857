"""What a comparison says beside WER and CER: Japanese in other ways, guards, one voice."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

import xlasr
from xlasr.reporting.compare.terminal import show_comparison
from xlasr.scoring import rate_interval, score
from xlasr.scoring.confidence import ONE_VOICE
from xlasr.scoring.japanese import score_japanese

from .planted import run_at
from .test_compare import table
from .test_html import Page


def test_japanese_is_shown_by_words_and_by_readings_where_all_runs_have_it(
    tmp_path: Path,
) -> None:
    said = {f"g{i}.{i}": "東京に行きました" for i in range(8)}
    groups = {key: key.split(".")[0] for key in said}

    def planted(name: str, texts: list[str], dictionary: str = "unidic 1", **more: Any) -> Path:
        told = dict(zip(said, texts * 4, strict=False))
        found = score_japanese(said, told, groups)
        parts = {"words": found.words.to_dict(), "readings": found.readings.to_dict()}
        held = {"adapted": {"dictionary": dictionary, **parts}} if dictionary else {}
        plain = score(said, told, groups, "unspaced").to_dict()
        base = score(said, dict.fromkeys(said, "東"), groups, "unspaced").to_dict()
        return run_at(tmp_path / name, said=said, adapted=plain, base=base, japanese=held, **more)

    one = planted("one", ["とうきょうにいきました", "東京に行った"])
    two = planted("two", ["東京に行った", "東京に行った"], recipe={"name": "x"})
    found = xlasr.compare([one, two], out=tmp_path / "out")
    row = found.results[0].row
    words, readings = row.japanese["words"], row.japanese["readings"]
    assert found.results[0].more == {
        "WER, MeCab words": rate_interval(words, "wer"),
        "CER, equal by reading": rate_interval(readings, "cer"),
    }
    assert words.wer != readings.cer != row.score.cer != words.wer
    assert [r.name for r in found.results[1].versus] == [
        "CER, unspaced", "WER, MeCab words", "CER, equal by reading"
    ]  # fmt: skip
    cells = table((tmp_path / "out" / "compare.csv").read_text(encoding="utf-8"))
    assert float(cells[0]["mecab_wer"]) == words.wer
    assert float(cells[0]["reading_cer_high"]) == rate_interval(readings, "cer").high
    assert "wer" not in cells[0]
    shown = Page((tmp_path / "out" / "compare.html").read_text(encoding="utf-8")).words
    assert "CER CERR WER, MeCab words CER, equal by reading" in shown
    assert "Case, punctuation and spaces do not count (normaliser unspaced" in shown
    out = io.StringIO()
    show_comparison(Console(file=out, width=80), found)
    for told in ("not to be mixed", "words and readings by unidic 1"):
        assert told in out.getvalue()
    for name, dictionary, told in (
        ("old", "", "pip install 'xlasr[japanese]'"),
        ("new", "unidic 2", "by different unidic 1; unidic 2"),
    ):
        mixed = xlasr.compare([one, planted(name, ["東京", "東京"], dictionary)])
        assert mixed.results[0].more == {} and any(told in note for note in mixed.notes)


def test_guards_are_counted_and_a_run_worse_than_its_base_is_named(
    tmp_path: Path,
) -> None:
    runs = [run_at(tmp_path / "a", 8), run_at(tmp_path / "b", 4, recipe={"name": "lora"})]
    stage = {"stage": "adapt", "trainable_parameters": 5, "guards": {"overfitting": 2}}
    bad = run_at(tmp_path / "bad", 20, stages=[stage], guards={"worse_than_base": 1})
    found = xlasr.compare([*runs, bad], out=tmp_path / "out")
    assert "bad is no better than its unadapted base (guard worse_than_base)" in found.notes
    cells = table((tmp_path / "out" / "compare.csv").read_text(encoding="utf-8"))
    assert [row["guards"] for row in cells] == [""] * 2 + ["overfitting 2, worse_than_base 1"]
    shown = Page((tmp_path / "out" / "compare.html").read_text(encoding="utf-8")).words
    assert "overfitting 2, worse_than_base 1" in shown
    assert not any("guard" in note for note in xlasr.compare(runs).notes)


def test_one_voice_is_noted_and_what_a_recipe_costs_is_no_setting(tmp_path: Path) -> None:
    one = run_at(tmp_path / "one", speakers=1, recipe={"cost": "an hour"})
    two = run_at(tmp_path / "two", speakers=1, seed=1)
    found = xlasr.compare([one, two])
    assert any(ONE_VOICE in note for note in found.notes)
    assert len(found.groups) == 1
