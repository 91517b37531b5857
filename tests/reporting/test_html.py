"""The page: complete in itself, nothing of a corpus is code, and the numbers are the score's."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from xlasr.errors import DataError
from xlasr.reporting.evaluation import Evaluation
from xlasr.reporting.formatting import per_cent, whole
from xlasr.reporting.html import ReportData, render, report_of_run, write_report
from xlasr.scoring import rate_interval, score

from .conftest import EVIL, LINES, scored

Make = Callable[..., ReportData]
VOID = {"meta", "br", "path", "use", "rect", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_the_page_says_what_the_score_says(make_data: Make) -> None:
    data = make_data()
    words = Page(render(data)).words
    for result in (data.base, data.adapted, data.base_raw, data.adapted_raw):
        assert result is not None
        for counts in (result.words, result.characters):
            assert per_cent(counts.rate).replace("\u00a0", " ") in words
            numbers = (counts.errors, counts.substitutions, counts.deletions, counts.insertions)
            assert " ".join(map(whole, (*numbers, counts.reference))) in words
    assert "no interval: 3 groups are too few" in words
    many = {f"{scene}-{line}": "abcd" for scene in range(25) for line in range(2)}
    wrong = {key: "abcx" if int(key.split("-")[0]) % 3 else "abcd" for key in many}
    scenes = {key: key.split("-")[0] for key in many}
    other = score(many, wrong, scenes)
    low, high = rate_interval(other, "cer").ends
    shown = Page(render(make_data(adapted=other, base=None, adapted_raw=None))).words
    assert f"{100 * low:.1f} to {100 * high:.1f}" in shown and "no interval" not in shown
    for part in (
        "adapted to 65 minutes of speech, has a character error rate of",
        "5 utterances of test, from 3 groups it was not trained on",
        "1.23 M 25.0 % 20 10 min 65 min, 1,128 clips 20 40.0 % 1 × longer than 30 s",
        "overfitting 1×",
        "xlasr adapt corpus --out run",
        "139 × missing audio",
        "6 speakers on more than one side",
        "Decoding: beam 4.",
        "torch 2.13.0",
        "name: whisper-full",
    ):
        assert part in words


def test_the_page_loads_nothing_and_runs_nothing(make_data: Make) -> None:
    page = Page(render(make_data()))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value is not None and value.startswith("#")
                assert value[1:] in ids, (tag, value)
            for target in re.findall(r"url\((.*?)\)", value or ""):
                assert target.startswith("#") and target[1:] in ids
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_no_text_of_the_outside_becomes_markup(make_data: Make) -> None:
    clean = Page(render(make_data()))
    references = {f"{i}{EVIL}": f"{said} {EVIL}" for i, (said, _, _) in enumerate(LINES.values())}
    heard = dict.fromkeys(references, f"{EVIL} něco")
    groups = {key: f"${i}${EVIL}" for i, key in enumerate(references)}
    evil = make_data(
        title=EVIL,
        command=EVIL,
        adapted=score(references, heard, groups, "raw"),
        base=score(references, heard, groups, "raw"),
        adapted_raw=None,
        base_raw=None,
        split=EVIL,
        card=dict.fromkeys(("language", "source", "licence", "attribution"), EVIL)
        | {"warnings": [EVIL], "alphabet": {EVIL: 1}, "dropped": {EVIL: 1}},
        recipe_yaml=EVIL,
        metrics=[{"stage": EVIL, "update": u, "loss": 1.0, "dev_cer": 0.5} for u in (1, 2)],
        events=[dict.fromkeys(("guard", "message", "action", "stage"), EVIL)],
        summary={
            "base": {"name": EVIL},
            "environment": {"versions": {EVIL: EVIL}, "commit": EVIL},
            "stages": [{"stage": EVIL, "left_out": [{EVIL: 1}]}],
        },
        decode={EVIL: EVIL},
    )
    text = render(evil)
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags}
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script" not in text and "<img" not in text
    assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|onerror=alert\(1\)> (49)", text)
    assert "{{ 7*7 }}" in page.words


def test_errors_are_marked_by_sign_and_element_and_not_by_colour_alone(make_data: Make) -> None:
    text = render(make_data())
    one = re.search(r'<div class="meta">(?:(?!<div class="meta">).)*airplane\.1.*?</div>\s*'
                    r'<div class="aligned" dir="auto">(.*?)</div>', text, re.DOTALL)  # fmt: skip
    assert one is not None
    kinds = re.findall(r'<span class="op ?(\w?)"', one[1])
    assert kinds == ["", "", "d", "", "", "s", "i"]  # co je [to] za divnou loď→lod +velkou
    assert '<del class="said">to</del>' in one[1]
    assert '<span class="said">loď</span><span class="heard"><i>≠</i>lod</span>' in one[1]
    assert '<ins class="heard"><i>+</i>velkou</ins>' in one[1]
    assert "base: so yet there's a dunlot" in Page(text).words


def test_parts_may_be_missing(make_data: Make) -> None:
    bare = ReportData(title="t", command="", adapted=scored(1))
    words = Page(render(bare)).words
    assert "adapted" in words and "Nothing was noticed" in words
    assert "against the base, paired" in words and "fewer errors" not in words
    one_group = score({"1": "a b"}, {"1": "a c"})
    words = Page(render(make_data(adapted=one_group, base=None, adapted_raw=None))).words
    assert "no interval: one utterance only" in words
    infinite = score({"1": "...", "2": "!"}, {"1": "slovo", "2": ""})
    assert "∞" in Page(render(make_data(adapted=infinite, base=None, adapted_raw=None))).words


def test_a_worse_model_is_called_worse(make_data: Make) -> None:
    data = make_data(adapted=scored(2), base=scored(1), adapted_raw=None, base_raw=None)
    words = Page(render(data)).words
    assert "more errors" in words and "fewer errors" not in words


def test_a_script_without_spaces_is_aligned_by_character(make_data: Make) -> None:
    references = {
        "1": "今日はとても良い天気ですから散歩に行きましょう",
        "2": "明日の午後は雨が降るそうですね",
    }
    hypotheses = {
        "1": "今日はとても酔い天気ですから散歩に行きましょう",
        "2": "明日の午後は雨が降るそうですね",
    }
    result = score(references, hypotheses)
    data = make_data(adapted=result, base=None, adapted_raw=None, base_raw=None)
    text = render(data)
    assert "characters are aligned" in text
    assert '<span class="said">良</span><span class="heard"><i>≠</i>酔</span>' in text
    assert "<span>今日はとても</span>" in text  # hits are joined


def test_the_file_is_replaced_whole_or_not_at_all(
    make_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    assert write_report(path, make_data()) == path
    first = path.read_text(encoding="utf-8")
    assert render(make_data()) == first  # no clock, no random ids
    stranger = score({"other": "a"}, {"other": "a"})
    with pytest.raises(DataError, match="same utterances"):
        write_report(path, make_data(base=stranger))
    assert path.read_text(encoding="utf-8") == first

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(path, make_data(title="new"))
    assert path.read_text(encoding="utf-8") == first
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_report_of_a_run_names_the_stage_of_every_event(tmp_path: Path) -> None:
    event = {"guard": "loop", "update": 5, "message": "m", "action": "cut"}
    evaluation = Evaluation(
        adapted=scored(1), adapted_raw=scored(1, "raw"), base=None, base_raw=None, split="dev",
        events=[{**event, "guard": "worse_than_base", "update": -1}], paired=None, loops=0, empty=0,
    )  # fmt: skip
    path = report_of_run(
        tmp_path / "report.html",
        facts={
            "base": {"name": "tiny"},
            "language": "cs",
            "environment": {"command": "xlasr adapt"},
            "stages": [{"stage": "first", "events": [event]}],
        },
        recipe="",
        metrics=[],
        card={},
        evaluation=evaluation,
    )
    words = Page(path.read_text(encoding="utf-8")).words
    assert "tiny → cs" in words and "Result on dev" in words
    assert "first 5 loop m cut" in words and "evaluate worse_than_base m cut" in words
