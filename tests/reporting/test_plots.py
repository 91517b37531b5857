"""Curves: stages one behind the other, the page's colours, nothing that is not finite."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from xlasr.reporting.drawing import COLOURS
from xlasr.reporting.plots import curves, group_plot, learning_curves, stage_ends
from xlasr.scoring import score

from .conftest import metrics, scored


def test_stages_stand_one_behind_the_other() -> None:
    found = curves(metrics())
    assert [x for x, _ in found["loss"]] == [10, 20, 30, 40, 50, 60]
    assert [y for _, y in found["loss"]][2] == 0.5  # the second stage counts from its own start
    assert found["audio_s"][-1] == (60, 600.0 + 1200.0)
    assert found["dev_cer"] == [(20, 0.4), (40, 0.4), (60, 0.2)]
    assert stage_ends(metrics()) == [("head", 20), ("full", 60)]


def test_rows_with_nothing_to_draw_are_left_out() -> None:
    rows = [
        {"stage": "a", "update": 1, "loss": math.nan},
        {"stage": "a", "update": 2, "loss": math.inf, "dev_cer": None},
        {"stage": "a", "update": True, "loss": 1.0},
        {"stage": "a", "loss": 1.0},
    ]
    assert not any(points for points in curves(rows).values())
    assert learning_curves(rows) == []
    assert learning_curves([]) == []


def test_drawings_are_svg_in_the_page_s_colours() -> None:
    drawings = [*learning_curves(metrics()), group_plot(scored(2), scored(1))]
    assert len(drawings) == 3
    for svg in drawings:
        root = ET.fromstring(svg)  # noqa: S314 (our own drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "width" not in root.attrib and "viewBox" in root.attrib
        assert not any(stand_in in svg for stand_in, _ in COLOURS.values())
        # Anything else than the page's variables would vanish on a dark page.
        for element in root.iter("{http://www.w3.org/2000/svg}text"):
            assert "fill: var(--" in element.attrib["style"], element.text
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
        assert all(c == "none" or c.startswith("var(--") for c in colours), colours
    texts = [t.text for t in ET.fromstring(drawings[1]).iter() if t.tag.endswith("}text")]  # noqa: S314
    assert "best 20.0" in texts and "minutes of audio heard" in texts


def test_groups_are_sorted_by_the_adapted_model_and_may_be_named_anything() -> None:
    names = ["$\\frac{1}$", "日本", "<b>"]
    references = {str(i): "a b c d" for i in range(3)}
    hypotheses = {"0": "a b c d", "1": "a b c x", "2": "a b x y"}
    result = score(references, hypotheses, {str(i): names[i] for i in range(3)})
    svg = group_plot(None, result)
    texts = [t.text for t in ET.fromstring(svg).iter() if t.tag.endswith("}text")]  # noqa: S314
    assert [t for t in texts if t in names] == names
    assert group_plot(None, score({"1": "a"}, {"1": "b"})) == ""
    many = {str(i): "a" for i in range(100)}
    shown = ET.fromstring(group_plot(None, score(many, many), most=7))  # noqa: S314
    assert sum(t.text in many for t in shown.iter() if t.tag.endswith("}text")) >= 7
    loop = score({"1": "a", "2": "b"}, {"1": "a " * 40, "2": "b"})
    assert "base drawn up to 150" in group_plot(
        loop, score({"1": "a", "2": "b"}, {"1": "a", "2": "b"})
    )
