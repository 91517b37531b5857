"""Label Studio: an export in its own layout, and JSON-MIN as label-studio-converter makes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import Read, read, sound

from xlasr.data.readers import guess_reader
from xlasr.errors import UsageError

Json = dict[str, Any]


def region(
    key: str, start: Any, end: Any, text: list[str] | None, channel: int = 0, label: str = "Eva"
) -> list[Json]:
    """The results of one region, as Label Studio exports them."""
    common: Json = {"original_length": 12.0, "id": key, "to_name": "audio", "origin": "manual"}
    value: Json = {"start": start, "end": end, "channel": channel}
    results = [
        {**common, "value": {**value, "labels": [label]}, "from_name": "label", "type": "labels"}
    ]
    if text is not None:
        field = {"from_name": "transcription", "type": "textarea"}
        results.append({**common, "value": {**value, "text": text}, **field})
    return results


def task(number: int, audio: str, *results: list[Json], **fields: Any) -> Json:
    annotation = {"id": number, "was_cancelled": False, "ground_truth": False, "result": []}
    annotation["result"] = [result for group in results for result in group]
    return {"id": number, "annotations": [annotation], "data": {"audio": audio}, **fields}


TASKS = [
    task(
        1,
        "/data/upload/7/0a1b2c3d-rozhovor.wav",
        region("aB1", 0.5, 1.75, ["Dobrý den."]),
        region("aB2", 2.0, 4.25, ["Jak se máte?"]),
    ),
    task(2, "/data/local-files/?d=den%201/druhy.wav", region("cD1", 0.0, 3.0, ["Jedna věta."])),
    task(
        3,
        "s3://bucket/treti.wav",
        region("eF1", 0.25, 1.0, ["Ano.", "Ne."]),
        region("eF2", 1.5, 2.0, None, label="Noise"),
        region("eF3", 2.5, 3.5, ["Konec."]),
    ),
]
# label-studio-converter 0.0.59 made this from TASKS (convert_to_json_min).
MINIMAL = json.loads("""[
 {"audio": "/data/upload/7/0a1b2c3d-rozhovor.wav", "id": 1,
  "label": [{"start": 0.5, "end": 1.75, "channel": 0, "labels": ["Eva"]},
            {"start": 2.0, "end": 4.25, "channel": 0, "labels": ["Eva"]}],
  "transcription": ["Dobrý den.", "Jak se máte?"], "annotator": "eva@example.org",
  "annotation_id": 1, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
  "lead_time": 1.0},
 {"audio": "/data/local-files/?d=den%201/druhy.wav", "id": 2,
  "label": [{"start": 0.0, "end": 3.0, "channel": 0, "labels": ["Eva"]}],
  "transcription": "Jedna věta.", "annotator": "eva@example.org", "annotation_id": 2,
  "created_at": "2026-01-02T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1.0},
 {"audio": "s3://bucket/treti.wav", "id": 3,
  "label": [{"start": 0.25, "end": 1.0, "channel": 0, "labels": ["Eva"]},
            {"start": 1.5, "end": 2.0, "channel": 0, "labels": ["Noise"]},
            {"start": 2.5, "end": 3.5, "channel": 0, "labels": ["Eva"]}],
  "transcription": [{"start": 0.25, "end": 1.0, "channel": 0, "text": ["Ano.", "Ne."]}, "Konec."],
  "annotator": "eva@example.org", "annotation_id": 3, "created_at": "2026-01-03T00:00:00Z",
  "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1.0}
]""")


def write(folder: Path, tasks: Any, **options: Any) -> Read:
    for name in ("rozhovor.wav", "den 1/druhy.wav", "treti.wav", "a.wav"):
        if not (folder / name).exists():
            sound(folder / name, 1.0, channels=2)
    path = folder / "export.json"
    path.write_text(json.dumps(tasks, ensure_ascii=False), "utf-8")
    return read("labelstudio", path, **options)


def test_an_export(tmp_path: Path) -> None:
    result = write(tmp_path, TASKS)
    assert result.spans == [
        (0.5, 1.75, "Dobrý den."), (2.0, 4.25, "Jak se máte?"), (0.0, 3.0, "Jedna věta."),
        (0.25, 1.0, "Ano. Ne."), (2.5, 3.5, "Konec."),
    ]  # fmt: skip
    assert [str(r.audio.relative_to(tmp_path)) for r in result.records] == [
        "rozhovor.wav", "rozhovor.wav", "den 1/druhy.wav", "treti.wav", "treti.wav",
    ]  # fmt: skip
    first = result.records[0]
    assert (first.id, first.group, first.channel) == (
        "rozhovor-transcription-00000500", "rozhovor", None,
    )  # fmt: skip
    assert first.custom == {"tier": "transcription", "label": "Eva"}
    assert result.reasons == [("treti task 3 region eF2", "missing text")]
    assert guess_reader(tmp_path / "export.json") == guess_reader(tmp_path) == "labelstudio"


def test_json_min(tmp_path: Path) -> None:
    result = write(tmp_path, MINIMAL)
    assert result.spans == [
        (0.5, 1.75, "Dobrý den."), (2.0, 4.25, "Jak se máte?"), (0.0, 3.0, "Jedna věta."),
        (0.25, 1.0, "Ano. Ne."),
    ]  # fmt: skip
    # Two regions and one text without times are left: nothing says which belongs to which.
    assert [reason for _, reason in result.reasons] == ["missing text"] * 2 + ["bad annotation"]
    assert "1 texts and 2 regions are left" in result.quarantine.entries[2].detail


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"id": "b", "value": "x", "from_name": "transcription"}, "a result without a value: {"),
        ({"id": "b"}, 'a result without a value: {"id": "b"}'),
        ("b", 'a result without a value: "b"'),
        ({"id": "b", "value": {"start": 2, "end": 3, "text": ["Ano", 5]}, "from_name": "t"},
         "its text in field 't' is [\"Ano\", 5]"),
        ({"id": "b", "value": {"start": 2, "end": 3, "text": {"x": "Ano"}}, "from_name": "t"},
         "its text in field 't' is {"),
    ],
)  # fmt: skip
def test_results_that_are_none_do_not_vanish(tmp_path: Path, result: Any, told: str) -> None:
    good = region("a", 0.5, 1.0, ["Dobrý den."])
    found = write(tmp_path, [task(1, "a.wav", good, [result])])
    assert found.spans == [(0.5, 1.0, "Dobrý den.")] and len(found.quarantine) == 1
    assert told in found.quarantine.entries[0].detail
    arrow = {"type": "relation", "from_id": "a", "to_id": "b"}
    assert not write(tmp_path, [task(1, "a.wav", good, [arrow])]).reasons


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        (["x"], "bad annotation"),
        ([{"result": {"value": {"text": "Ano"}}}], "bad annotation"),
        ([{"result": 5}], "bad annotation"),
        ([{"result": [{"id": ["a"]}]}, {"result": [{"id": ["b"]}]}], "ambiguous"),
    ],
)
def test_annotations_that_are_none(tmp_path: Path, annotations: list[Any], reason: str) -> None:
    found = write(tmp_path, [{"id": 1, "data": {"audio": "a.wav"}, "annotations": annotations}])
    assert [r for _, r in found.reasons] == [reason] and not found.records


def test_json_min_with_a_value_that_is_no_text(tmp_path: Path) -> None:
    made = {"audio": "a.wav", "id": 1, "lead_time": 1.0, "text": ["Ano", 5], "whole": "Celá věta."}
    found = write(tmp_path, [made], tiers=["text", "whole"])
    assert [text for _, _, text in found.spans] == ["Celá věta."]
    assert "only some of its 2 values are texts" in found.quarantine.entries[0].detail


def test_channels_count_where_the_recording_was_split(tmp_path: Path) -> None:
    both = [*region("a", 0.0, 1.0, ["levý"]), *region("b", 0.0, 1.0, ["pravý"], channel=1)]
    result = write(tmp_path, [task(1, "a.wav", both)])
    assert {(r.channel, r.text) for r in result.records} == {(0, "levý"), (1, "pravý")}
    assert len({r.id for r in result.records}) == 2
    assert not result.reasons


def test_a_text_without_regions_is_that_of_the_recording(tmp_path: Path) -> None:
    text = {"id": "x", "from_name": "transcription", "type": "textarea"}
    result = write(tmp_path, [task(1, "a.wav", [{**text, "value": {"text": ["Celý."]}}])])
    assert result.spans == [(0.0, None, "Celý.")]
    assert result.records[0].id == "a-transcription"
    minimal = {"audio": "a.wav", "id": 1, "transcription": "Celý.", "lead_time": 3.5}
    assert write(tmp_path, [minimal]).spans == [(0.0, None, "Celý.")]
    assert write(tmp_path, minimal).spans == [(0.0, None, "Celý.")]


def test_several_text_fields(tmp_path: Path) -> None:
    results = region("a", 0.0, 1.0, ["ahoj"])
    results.append({**results[1], "from_name": "english",
                    "value": {**results[1]["value"], "text": ["hello"]}})  # fmt: skip
    tasks = [task(1, "a.wav", results, region("b", 1.0, 2.0, ["den"]))]
    with pytest.raises(UsageError, match=r"(?s)'transcription', 'english'.*--tier NAME"):
        write(tmp_path, tasks)
    result = write(tmp_path, tasks, tiers=["english"])
    assert result.spans == [(0.0, 1.0, "hello")]
    assert result.reasons == [("a task 1 region b", "missing text")]


@pytest.mark.parametrize(
    ("change", "reason", "detail", "n_records"),
    [
        ({"annotations": []}, "missing text", "task 9: not annotated", 1),
        ({"annotations": [{"was_cancelled": True, "result": []}]}, "missing text", "skipped", 1),
        ({"annotations": "x"}, "missing text", "not annotated", 1),
        ({"annotations": [{"result": []}]}, "missing text", "no text in it", 1),
        ({"annotations": [{"result": region("a", 0, 1, ["x"])}, {"result": []}]},
         "ambiguous", "2 annotations; mark one as ground truth", 1),
        ({"annotations": [{"result": region("a", 0, 1, None) + region("b", 1, 2, None)}]},
         "missing text", "no text in it", 2),
        ({"data": {}}, "missing audio", "no field, or several fields", 1),
        ({"data": {"a": "1.wav", "b": "2.wav"}}, "missing audio", "several fields", 1),
        ({**task(9, "gone.wav", region("a", 0, 1, ["x"]), region("b", 1, 2, ["y"]))},
         "missing audio", "looked for 'gone.wav'", 2),
        ({"annotations": [{"result": region("a", 3, 3, ["x"])}]}, "zero length", "3.000", 1),
        ({"annotations": [{"result": region("a", 3, 2, ["x"])}]}, "reversed", "2.000", 1),
        ({"annotations": [{"result": region("a", -1, 2, ["x"])}]}, "out of range", "-1.000", 1),
        ({"annotations": [{"result": region("a", "1", 2, ["x"])}]}, "bad annotation", "'1'", 1),
        ({"annotations": [{"result": region("a", 1, 10**400, ["x"])}]}, "bad annotation", "10", 1),
        ({"annotations": [{"result": region("a", 0, 2, ["x"]) + region("b", 1, 3, ["y"])}]},
         "overlap", "region a (0.000 to 2.000 s)", 2),
        ({"annotations": [{"result": region("a", 0, 2, [" "])}]}, "empty annotation", "1 of 1", 1),
    ],
)  # fmt: skip
def test_tasks_that_cannot_be_used_are_listed_and_the_rest_goes_on(
    tmp_path: Path, change: Json, reason: str, detail: str, n_records: int
) -> None:
    odd = {**task(9, "treti.wav"), **change}
    result = write(tmp_path, [odd, task(1, "a.wav", region("z", 0, 1, ["Dobře."]))])
    assert [r.text for r in result.records] == ["Dobře."]
    assert {r for _, r in result.reasons} == {reason}
    assert len(result.quarantine) == n_records
    assert detail in result.quarantine.entries[0].detail


def test_of_several_annotations_the_ground_truth_counts(tmp_path: Path) -> None:
    both = [
        {"result": region("a", 0, 1, ["ne"])},
        {"result": region("b", 0, 1, ["ano"]), "ground_truth": True},
    ]
    result = write(tmp_path, [{**task(1, "a.wav"), "annotations": both}])
    assert result.spans == [(0.0, 1.0, "ano")]


@pytest.mark.parametrize("content", ["", "[]", "7", '"x"', "[1", "[" * 100_000, "NaN", '[{"id": '])
def test_files_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    result = read("labelstudio", tmp_path)
    assert not result.records
    expected = "missing text" if content == "[]" else "bad transcript"
    assert {reason for _, reason in result.reasons} <= {expected, "bad annotation"}
    assert result.reasons


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a.wav", "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "annotations completions result data audio value start end channel text labels id"
                " from_name was_cancelled ground_truth label transcription".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(tasks=ANY)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, tasks: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.wav").touch()
    (folder / "x.json").write_text(json.dumps(tasks))
    try:
        result = read("labelstudio", folder)
    except UsageError:
        return
    if isinstance(tasks, list):
        assert result.n_rows >= len(tasks)  # no task vanishes


TEXTS = st.text(st.characters(codec="utf-8"), max_size=9)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.floats(0, 9), st.floats(0.01, 9), st.none() | TEXTS), min_size=1, max_size=8
    )
)
def test_rows_in_are_rows_out_and_rows_listed(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[float, float, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    (folder / "a.wav").touch()
    regions, at, expected = [], 0.0, []
    for n, (gap, length, text) in enumerate(parts):
        start, at = at + gap, at + gap + length
        regions.append(region(f"r{n}", start, at, None if text is None else [text]))
        if text is not None and text.strip():
            expected.append((start, round(at, 6), text))
    (folder / "x.json").write_text(json.dumps([task(1, "a.wav", *regions)]), "utf-8")
    result = read("labelstudio", folder)
    assert result.spans == expected
    assert result.n_rows == len(parts)
