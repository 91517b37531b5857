"""What stands on the terminal."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from xlasr.reporting import formatting
from xlasr.reporting.comparison import compare
from xlasr.reporting.evaluation import Evaluation
from xlasr.reporting.lines import align_for_reading, joined, sample
from xlasr.reporting.tables import marked, show_run, verdict
from xlasr.reporting.terminal import show_evaluation
from xlasr.scoring import align, score, word_counts

from .conftest import scored


def printed(show: Any, *arguments: Any, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width), *arguments, **options)
    return out.getvalue().replace(formatting.NBSP, " ")


def evaluation(**changes: Any) -> Any:
    parts = {
        "split": "test", "adapted": scored(1), "adapted_raw": scored(1, "raw"),
        "base": scored(2), "base_raw": scored(2, "raw"), "loops": 2, "empty": 1,
        "events": [{"guard": "worse_than_base", "message": "it [is]", "action": "stop"}],
    }  # fmt: skip
    return Evaluation(**{"paired": None, **parts, **changes})


def test_the_table_fits_80_columns_and_holds_every_count() -> None:
    text = printed(show_evaluation, evaluation(), lines=2)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    for counts in (scored(1).words, scored(2, "raw").characters):
        numbers = (counts.substitutions, counts.deletions, counts.insertions, counts.reference)
        rate = formatting.per_cent(counts.rate).replace(formatting.NBSP, " ")
        rows = [line.split() for line in text.splitlines()]
        assert any(row[-4:] == [str(n) for n in numbers] and rate in " ".join(row) for row in rows)
    assert "test: 5 utterances, 3 groups" in text
    assert "2 hypotheses repeated themselves and were cut; 1 are empty" in text
    assert "worse_than_base: it [is]; stop" in text
    assert "worst lines" in text and "cabin.2" in text


def test_large_counts_are_never_cut_short() -> None:
    # Lines of a test set of half an hour on a usual terminal, and of hours on a narrow one.
    for size, width in ((40, 80), (400, 72)):
        long = {str(i): "slovo " * 60 for i in range(size)}
        big = score(long, dict.fromkeys(long, "jinak kolem " * 60))
        raw = score(long, dict.fromkeys(long, "jinak kolem " * 60), normaliser="raw")
        shown = evaluation(adapted=big, base=big, adapted_raw=raw, base_raw=raw)
        text = printed(show_evaluation, shown, lines=0, width=width)
        assert "…" not in text and text.count(f"{big.characters.reference:,}") == 4
        assert ("CER, as written  base" in text) == (width == 80)


def test_without_a_base_nothing_is_compared() -> None:
    text = printed(show_evaluation, evaluation(base=None, base_raw=None, events=[]), lines=0)
    assert "base" not in text and "fewer" not in text and "CER" in text


def test_the_verdict_has_the_right_sign() -> None:
    better, worse = compare(scored(2), scored(1))[0], compare(scored(1), scored(2))[0]
    assert "fewer errors" in verdict(better) and "more errors" in verdict(worse)
    assert verdict(compare(scored(1), scored(1))[0]).startswith("the same, p")
    assert "(" not in verdict(better)  # three groups have no interval
    noisy = {str(i): "a b c d" for i in range(30)}
    slightly = score(noisy, dict.fromkeys(noisy, "a b c x"))
    badly = score(noisy, {key: "x y z z" if int(key) % 3 else "a b x x" for key in noisy})
    low, high = verdict(compare(slightly, badly)[1]).split("(")[1].split(")")[0].split(" to ")
    assert 0 < float(low) < 233.3 < float(high)
    low, high = verdict(compare(badly, slightly)[1]).split("(")[1].split(")")[0].split(" to ")
    assert 0 < float(low) < 70 < float(high) < 100
    perfect = score({"1": "a", "2": "b"}, {"1": "a", "2": "b"})
    spoilt = score({"1": "a", "2": "b"}, {"1": "a", "2": "x"})
    assert "more (absolute)" in verdict(compare(perfect, spoilt)[0])


def test_marks_read_without_colours() -> None:
    ops = align_for_reading("co je to za loď".split(), "co je za lod velkou".split())
    assert marked(ops).plain.split() == ["co", "je", "[-to]", "za", "[lod|loď]", "[+velkou]"]


@settings(max_examples=150, deadline=None)
@given(*[st.lists(st.sampled_from(["a", "ab", "b", "ba", "x"]), max_size=9)] * 2)
def test_the_readable_alignment_has_the_scored_number_of_errors(
    ref: list[str], hyp: list[str]
) -> None:
    ops = align_for_reading(ref, hyp)
    assert [op.ref for op in ops if op.kind != "insertion"] == ref
    assert [op.hyp for op in ops if op.kind != "deletion"] == hyp
    assert all((op.ref == op.hyp) == (op.kind == "hit") for op in ops)
    scored_errors = word_counts(" ".join(ref), " ".join(hyp)).errors
    assert sum(op.kind != "hit" for op in ops) == scored_errors


def test_runs_of_one_kind_are_joined() -> None:
    ops = joined(align("abcdef", "abXYef"))
    assert [(op.kind, op.ref, op.hyp) for op in ops] == [
        ("hit", "ab", "ab"), ("substitution", "cd", "XY"), ("hit", "ef", "ef"),
    ]  # fmt: skip


def test_the_sample_is_picked_by_nobody_and_goes_from_good_to_bad() -> None:
    ids = [str(i) for i in range(200)]
    result = score(dict.fromkeys(ids, "a b c"), {i: "a b c" if int(i) % 2 else "x" for i in ids})
    chosen = sample(result, 20)
    assert [u.id for u in sample(result, 20)] == [u.id for u in chosen]
    assert [u.cer for u in chosen] == sorted(u.cer for u in chosen)
    assert 0.2 < sum(u.cer > 0 for u in chosen) / 20 < 0.8


def test_a_run_is_told_in_one_table() -> None:
    stage = {
        "stage": "[head]", "updates": 300, "audio_s": 10_020.0, "trainable_parameters": 18_460_416,
        "parameters": 19_036_416, "best_update": 150, "dev_cer": 0.288, "guards": {"loop": 2},
    }  # fmt: skip
    cost = {"wall_s": 300.0, "cpu_s": 540.0, "peak_memory_mb": 2911}
    text = printed(show_run, Path("run"), {"stages": [stage], "cost": cost})
    row = next(line for line in text.splitlines() if "[head]" in line)
    assert row.split("  ")[0].strip() == "[head]"
    for part in ("300", "2 h 47 min", "18.5 M", "19 M", "150", "28.8 %", "loop x2"):
        assert part in row
    assert "cost: 5 min (9 min of CPU time), at most 2,911 MB of memory" in text
    assert "run" in printed(show_run, Path("run"), {})


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.per_cent(0.21434), "21.4 %"),
        (formatting.per_cent(1.25), "125.0 %"),
        (formatting.per_cent(-0.0001), "0.0 %"),
        (formatting.per_cent(-0.1), "−10.0 %"),
        (formatting.per_cent(math.inf), "∞ %"),
        (formatting.per_cent(math.nan), "n/a"),
        (formatting.span((0.199, 0.23)), "19.9 to 23.0"),
        (formatting.span((math.nan, 0.1)), "n/a"),
        (formatting.p_value(0.0009), "p < 0.001"),
        (formatting.p_value(0.0123), "p = 0.012"),
        (formatting.p_value(0.456), "p = 0.46"),
        (formatting.p_value(math.nan), "p n/a"),
        (formatting.short(18_460_416), "18.5 M"),
        (formatting.short(999_900), "1 M"),
        (formatting.short(12), "12"),
        (formatting.duration(48.4), "48 s"),
        (formatting.duration(7_500), "2 h 05 min"),
        (formatting.whole(18460416), "18,460,416"),
    ],
)
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown.replace(formatting.NBSP, " ") == expected
