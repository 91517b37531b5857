"""Runs side by side: the scores' own numbers, nothing made up, and figures that show the CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import xlasr
from xlasr.data.corpus import Corpus
from xlasr.errors import DataError, RunError, UsageError
from xlasr.reporting import fonts
from xlasr.reporting.compare.figures import (
    curves_plot,
    minutes_plot,
    parameters_plot,
    side_by_side,
)
from xlasr.reporting.compare.letters import confusion_plots, rarity_plot
from xlasr.reporting.compare.page import figures_of, render
from xlasr.reporting.compare.plot import Plot
from xlasr.reporting.compare.rows import read_rows, read_run
from xlasr.reporting.compare.table import compare_rows, csv_text, table_csv
from xlasr.reporting.compare.terminal import show_comparison
from xlasr.reporting.formatting import per_cent, span
from xlasr.scoring import paired, rate_interval, score, werr
from xlasr.scoring.breakdown import confusion
from xlasr.scoring.rare_words import rare_words

from .conftest import EVIL
from .planted import GROUPS, SAID, TRAIN, corpus_at, heard, run_at
from .test_html import Page


def scored(wrong: int) -> Any:
    return score(SAID, heard(wrong), GROUPS)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    corpus = corpus_at(tmp_path / "corpus")
    return [
        run_at(tmp_path / "a0", 8, corpus=corpus),
        run_at(tmp_path / "a1", 6, seed=1, corpus=corpus),
        run_at(tmp_path / "few", 15, minutes=10.0, corpus=corpus),
        run_at(
            tmp_path / "other", 4, corpus=corpus, trained=250_000, recipe={"name": "lora"},
            speed={"audio_s": 100.0, "wall_s": 25.0, "cpu_s": 40.0},
            also=[{"corpus": "/x/asterisk-en", "language": "en", "base_cer": 0.05,
                   "adapted_cer": 0.093, "verdict": "worse"}],
        ),
    ]  # fmt: skip


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_numbers_are_the_scores(runs: list[Path], tmp_path: Path) -> None:
    found = xlasr.compare(runs, out=tmp_path / "out")
    base = scored(20)
    cells = table((tmp_path / "out" / "compare.csv").read_text(encoding="utf-8"))
    text = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    words = Page(text).words
    for row, wrong, result in zip(cells, (8, 6, 15, 4), found.results, strict=True):
        mine = scored(wrong)
        wer, cer = rate_interval(mine, "wer"), rate_interval(mine, "cer")
        gain = werr(base, mine, "wer")
        assert [float(row[k]) for k in ("wer", "wer_low", "wer_high")] == [wer.value, *wer.ends]
        assert [float(row[k]) for k in ("cer", "cer_low", "cer_high")] == [cer.value, *cer.ends]
        assert [float(row[k]) for k in ("werr", "werr_low", "werr_high")] == [
            gain.value, *gain.ends
        ]  # fmt: skip
        assert row["werr_over"] == "the unadapted base whisper-tiny.en"
        if wrong == 8:
            assert row["p_wer_against_a0"] == "" and not result.versus
        else:
            assert float(row["p_wer_against_a0"]) == paired(scored(8), mine, "wer").p_value
        for rate in (wer, cer, gain):
            assert per_cent(rate.value).replace("\u00a0", " ") in words
            assert span(rate.ends) in words
    assert [row["minutes"] for row in cells] == ["60.0", "60.0", "10.0", "60.0"]
    assert [row["trained_parameters"] for row in cells][3] == "250000"
    assert cells[0]["size_bytes"] == "1500000" and cells[0]["train_cpu_s"] == "200.0"
    assert cells[0]["real_time_factor"] == cells[0]["forgetting"] == ""
    assert float(cells[3]["real_time_factor"]) == 0.25
    assert float(cells[3]["real_time_factor_cpu"]) == 0.4
    assert "en 5.0 to 9.3 %, worse" in words and "0.250" in words
    for part in ("2 min", "200 s", "900 MB", "2 MB", "250 k", "60.0", "10.0"):
        assert part in words
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    for name in ("error-by-minutes", "error-by-parameters", "learning-curves", "error-by-rarity"):
        assert {f"{name}.png", f"{name}.svg", f"{name}.csv"} <= figures
    assert sum(name.startswith("confusion-") for name in figures) == 3 * 3


def test_seeds_are_one_group_and_each_a_row(runs: list[Path]) -> None:
    found = compare_rows(read_rows(runs))
    assert [(g.name, [r.label for r in g.rows]) for g in found.groups] == [
        ("ctc (a0)", ["a0", "a1"]),
        ("ctc (few)", ["few"]),
        ("lora", ["other"]),
    ]
    mean = (scored(8).wer + scored(6).wer) / 2
    assert found.groups[0].mean("wer") == pytest.approx(mean)
    words = Page(render(found, figures_of(found))).words
    assert f"mean of 2 seeds of ctc (a0) {per_cent(mean)}".replace("\u00a0", " ") in words


def test_the_reference_is_said(runs: list[Path], tmp_path: Path) -> None:
    found = xlasr.compare(runs, against=runs[2])
    assert (found.reference, found.reference_run) == ("the run few", "few")
    assert found.results[2].reduction is None and found.results[2].versus == ()
    gain = found.results[0].reduction
    assert gain is not None and gain == werr(scored(15), scored(8), "wer")
    alone = run_at(tmp_path / "alone", 3, base_wrong=None)
    assert xlasr.compare([*runs, alone]).reference == "the run a0"  # not all have a base
    added = xlasr.compare(runs, against=alone)
    assert next(r.row.label for r in added.results) == "alone" == added.reference_run


def test_runs_of_different_speech_are_not_compared(tmp_path: Path) -> None:
    one = run_at(tmp_path / "one")
    two = run_at(tmp_path / "two", split_sha256="dead" * 16)
    with pytest.raises(DataError, match="different speech") as error:
        xlasr.compare([one, two], out=tmp_path / "out")
    assert str(one) in str(error.value) and str(two) in str(error.value)
    assert "feedfeedfeed" in str(error.value) and "deaddeaddead" in str(error.value)
    assert not (tmp_path / "out").exists()
    raw = score(SAID, heard(3), GROUPS, "raw")
    three = run_at(tmp_path / "three", adapted=raw.to_dict())
    with pytest.raises(DataError, match="different rules"):
        xlasr.compare([one, three])


def test_what_is_no_finished_evaluated_run_is_refused(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run")
    run_at(tmp_path / "run", 2, name="test-greedy")
    with pytest.raises(RunError, match="xlasr adapt CORPUS"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RunError, match=rf"`xlasr evaluate {run} --split dev`") as error:
        read_run(run, "dev")
    assert "it has test, test-greedy" in str(error.value)
    assert read_run(f"{run}:test-greedy").score == scored(2)
    assert read_run(run, name="test-greedy").score == scored(2)
    labels = [row.label for row in read_rows([run, f"{run}:test-greedy"])]
    assert labels == ["run", "run:test-greedy"]
    same = run_at(tmp_path / "deeper" / "run")
    labels = [row.label for row in read_rows([run, same])]
    assert labels == [f"{tmp_path.name}/run", "deeper/run"]
    for wrong in (f"{run}:../run", f"{run}:"):
        with pytest.raises(UsageError, match="evaluation"):
            read_run(wrong)
    with pytest.raises(UsageError, match="twice"):
        read_rows([run, f"{tmp_path}/./run"])
    path = run / "evaluations" / "test.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["adapted"]["words"]["hits"] += 1
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match="not the sum"):
        read_run(run)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        read_run(run)
    (run / "model" / "model.safetensors").unlink()
    (run / "model").rmdir()
    with pytest.raises(RunError, match="adapt --resume"):
        read_run(run)


def test_minutes_tell_the_own_corpus_from_others(tmp_path: Path) -> None:
    def read(name: str, data: list[list[dict[str, Any]]], heard: list[float], **more: Any) -> Any:
        plan = [{"name": f"s{i}", "data": part} for i, part in enumerate(data)]
        stages = [
            {"stage": f"s{i}", "train_minutes": m, "trainable_parameters": 10 + i}
            for i, m in enumerate(heard)
        ]
        run = run_at(tmp_path / name, recipe={"stages": plan}, stages=stages, **more)
        row = read_run(run)
        return row.minutes, row.other_minutes, row.trained

    main: dict[str, Any] = {"path": "main", "minutes": None}
    other = {"path": "/speech/other", "minutes": None}
    assert read("two", [[main, other], [main]], [400.0, 60.0]) == (60.0, 340.0, 11)
    assert read("gone", [[main, other]], [400.0]) == (None, 0.0, 10)
    assert read("part", [[{**main, "minutes": 5}, other]], [405.0]) == (5.0, 400.0, 10)
    corpus = corpus_at(tmp_path / "corpus")
    known = round(corpus.card.splits["train"].minutes, 1)
    assert read("card", [[main, other]], [9.0], corpus=corpus) == (known, 9.0 - known, 10)


def drawn(plot: Plot) -> list[list[tuple[float, float]]]:
    """Points of all lines and dots, panel by panel."""
    panels = []
    for axes in plot.figure().axes:
        points: list[tuple[float, float]] = []
        for line in axes.lines:
            points += zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True)
        panels.append(points)
    return panels


def test_the_csv_holds_what_is_drawn(runs: list[Path]) -> None:
    found = compare_rows(read_rows(runs))
    for make, x in ((minutes_plot, "minutes_of_training_speech"),
                    (parameters_plot, "trained_parameters")):  # fmt: skip
        plot = make(found)
        assert plot is not None
        rows = table(csv_text(plot.columns, plot.rows))
        assert [row["kind"] for row in rows].count("mean") == 1
        for panel, metric in zip(drawn(plot), ("wer", "cer"), strict=True):
            written = [(float(row[x]), float(row[f"{metric}_percent"])) for row in rows]
            assert sorted(panel) == sorted(written)
            runs_only = [row for row in rows if row["kind"] == "run"]
            for row, wrong in zip(runs_only, (8, 6, 15, 4), strict=True):
                assert float(row[f"{metric}_percent"]) == pytest.approx(
                    100 * scored(wrong).counts(metric).rate
                )
    plot = curves_plot(found)
    assert plot is not None
    rows = table(csv_text(plot.columns, plot.rows))
    assert [float(row["minutes_heard"]) for row in rows[:3]] == [5.0, 10.0, 20.0]
    written = [(float(row["minutes_heard"]), float(row["dev_cer_percent"])) for row in rows]
    assert sorted(drawn(plot)[0]) == sorted(written)


def test_rarity_is_counted_in_the_training_text(runs: list[Path], tmp_path: Path) -> None:
    # with words too much, so that what was missed is not what was wrong
    chatty = score(SAID, {k: f"den den {v}" for k, v in heard(4).items()}, GROUPS)
    runs.append(run_at(tmp_path / "chatty", adapted=chatty.to_dict(), recipe={"name": "x"},
                       corpus=Corpus.open(tmp_path / "corpus")))  # fmt: skip
    found = compare_rows(read_rows(runs))
    plot, why = rarity_plot(found)
    assert plot is not None and why == ""
    rows = table(csv_text(plot.columns, plot.rows))
    for label, mine in (("other", scored(4)), ("chatty", chatty)):
        bins = [b for b in rare_words(mine, TRAIN).bins if b.counts.reference]
        cells = [row for row in rows if row["run"] == label]
        assert [row["training_count"] for row in cells] == [b.name for b in bins]
        assert [float(row["missed_percent"]) for row in cells] == pytest.approx(
            [100 * b.miss_rate for b in bins]
        )
    assert {row["training_count"] for row in rows} == {"unseen", "2-4", "5-9"}
    heights = sorted(y for _, y in drawn(plot)[0])
    assert heights == pytest.approx(sorted(float(row["missed_percent"]) for row in rows))


def test_without_the_training_text_it_is_said_why(runs: list[Path], tmp_path: Path) -> None:
    gone = compare_rows(read_rows([run_at(tmp_path / "lost")]))
    plot, why = rarity_plot(gone)
    assert plot is None and "gone" in why
    assert why in Page(render(gone, figures_of(gone))).words
    lost = run_at(tmp_path / "elsewhere", corpus=corpus_at(tmp_path / "second", ("jiný text",)))
    assert "different corpora" in rarity_plot(compare_rows(read_rows([*runs, lost])))[1]
    manifest = tmp_path / "corpus" / "train.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b"pane", b"panu"))  # as long as before
    plot, why = rarity_plot(compare_rows(read_rows(runs)))
    assert plot is None and "differs from its card" in why


def test_a_confusion_map_counts_what_the_score_counts(runs: list[Path], tmp_path: Path) -> None:
    found = compare_rows(read_rows(runs))
    plots, left_out = confusion_plots(found)
    assert left_out == "" and len(plots) == 3
    rows = table(csv_text(plots[0].columns, plots[0].rows))
    counts = {(row["said"], row["heard"]): int(row["count"]) for row in rows}
    assert counts["ý", "y"] == 8 + 6  # both seeds
    both = [confusion(scored(wrong)) for wrong in (8, 6)]
    errors = sum(int(c.matrix.sum() - c.matrix.diagonal().sum()) for c in both)
    assert sum(counts.values()) == errors
    texts = [t.get_text() for t in plots[0].figure().axes[0].texts]
    assert sorted(texts) == sorted(str(n) for n in counts.values() if n >= 2)
    assert all(int(row["said_in_all"]) >= int(row["count"]) for row in rows if row["said"])
    few = [run_at(tmp_path / "two", 2), run_at(tmp_path / "one", 1, recipe={"name": "x"})]
    twice, once = confusion_plots(compare_rows(read_rows(few)))[0]
    assert {t.get_text() for t in twice.figure().axes[0].texts} == {"2"}
    assert not once.figure().axes[0].texts  # a single mistake is shown and not counted


def test_without_spaces_the_headline_is_cer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {f"g{i}.{i}": f"今日は良い天気です{i}" for i in range(6)}
    groups = {key: key.split(".")[0] for key in said}
    adapted = score(said, dict.fromkeys(said, "今日"), groups)
    run = run_at(tmp_path / "ja", said=said, adapted=adapted.to_dict())
    found = compare_rows(read_rows([run]))
    assert found.metric == "cer" and found.reduction_name == "CERR"
    words = Page(render(found, figures_of(found))).words
    assert "CERR" in words and "WER has no words" in words and "1 run on test" in words
    monkeypatch.setattr(fonts, "covering", lambda text: (["DejaVu Sans"], ["日"]))
    told = xlasr.compare([run], out=tmp_path / "out")
    assert "Install a font" in told.notes[-1]
    assert "Install a font" in (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    plot = parameters_plot(found)
    assert plot is not None and len(plot.figure().axes) == 1


def test_the_page_loads_nothing_and_no_text_becomes_markup(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>$&"
    run = run_at(
        tmp_path / name.replace("/", ""), 3, recipe={"name": EVIL},
        also=[{"corpus": EVIL, "language": EVIL, "base_cer": None, "adapted_cer": 0.1,
               "verdict": EVIL}],
    )  # fmt: skip
    other = run_at(tmp_path / "other", 5)
    found = compare_rows(read_rows([run, other]))
    text = render(found, figures_of(found))
    page = Page(text)
    assert page.open == [] and "{{ 7*7 }}" in page.words
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "image", "object", "embed", "form"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("href", "src", "xlink:href"):
                assert value is not None and value[0] == "#" and value[1:] in ids
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_only_an_earlier_comparison_is_replaced(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        xlasr.compare(runs[:1], out=runs[0])
    assert (runs[0] / "run.json").exists()
    out = tmp_path / "out"
    xlasr.compare(runs[:1], out=out)
    (out / "figures" / "old.png").write_bytes(b"")
    xlasr.compare(runs[2:3], out=out)
    assert not (out / "figures" / "old.png").exists()
    assert table((out / "compare.csv").read_text(encoding="utf-8"))[0]["run"] == "few"


def test_the_terminal_shows_it_in_80_columns(runs: list[Path]) -> None:
    out = io.StringIO()
    show_comparison(Console(file=out, width=80), compare_rows(read_rows(runs)))
    text = out.getvalue().replace("\u00a0", " ")
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for part in ("WERR over the unadapted base", per_cent(scored(4).wer).replace("\u00a0", " "),
                 "mean of 2", "real-time", "9.3 %"):  # fmt: skip
        assert part in text
    bare = io.StringIO()
    show_comparison(Console(file=bare, width=80), compare_rows(read_rows(runs[:1])))
    assert "real-time" not in bare.getvalue() and "paired" not in bare.getvalue()


def test_fonts_are_chosen_by_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"/dejavu": "aб", "/kana": "かa", "/cjk": "かな漢"}
    monkeypatch.setattr(fonts, "_path", lambda family: "/dejavu")
    monkeypatch.setattr(fonts, "_installed", lambda: iter([("/kana", "Kana"), ("/cjk", "CJK")]))
    monkeypatch.setattr(fonts, "_characters", lambda path: {ord(c) for c in held[path]})
    assert fonts.covering(["a б"]) == (["DejaVu Sans"], [])
    families, missing = fonts.covering(["かな漢", "a", "ह"])
    assert (families, missing) == (["DejaVu Sans", "CJK"], ["ह"])
    assert fonts.note([]) == "" and "ह" in fonts.note(missing)


def test_boxes_are_no_letters() -> None:
    families, missing = fonts.covering(["\U0001e900"])  # Adlam, which hardly any machine has
    assert not any("last resort" in family.lower() for family in families)
    assert missing == ["\U0001e900"] or len(families) > 1


def test_dots_at_one_place_stand_side_by_side() -> None:
    shifts, step = side_by_side({"a": (60.0, 2), "b": (60.0, 1), "far": (5.0, 1)})
    assert shifts["far"] == 0 and shifts["b"] - shifts["a"] == pytest.approx(1.5 * step)
    assert math.isclose(shifts["a"] * 2 + shifts["b"], 0, abs_tol=1e-9)
    assert side_by_side({"a": (1.0, 40)})[1] < step


def test_table_csv_has_no_made_up_numbers(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run", base_wrong=None)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del facts["cost"]
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    row = table(table_csv(compare_rows(read_rows([run]))))[0]
    for key in ("train_wall_s", "train_cpu_s", "peak_memory_mb", "real_time_factor", "werr"):
        assert row[key] == ""
