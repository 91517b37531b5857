"""Label Studio: the exports JSON and JSON-MIN of audio tasks.

A region of the recording with a text (``TextArea``, ``perRegion``) is an utterance; a text without
regions is that of the whole recording. Several text fields are several tiers. The channel of a
region counts where the recording was split into channels, that is, where any region is not on 0.

JSON-MIN drops the times of most texts; they are taken from the region of the same number if there
are as many, else the texts are quarantined: export JSON.

Source: https://labelstud.io/guide/export.html; JSON-MIN as label-studio-converter writes it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from xlasr.data.quarantine import Entry, Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import AUDIO_SUFFIXES
from xlasr.data.readers.media import path_of
from xlasr.data.readers.segments import (
    Transcript,
    read_bytes,
    read_transcripts,
    transcript_files,
)
from xlasr.data.readers.tiers import Annotation, Tier
from xlasr.errors import DataError

SUFFIXES = frozenset({".json"})

_MAX_FIELDS = 100
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts this before uploaded names
_OWN_FIELDS = frozenset(
    "id annotator annotation_id created_at updated_at lead_time agreement inner_id project"
    " file_upload completed_by".split()
)
_MARKS = re.compile(rb'"(annotations|completions|annotation_id|lead_time)"\s*:')


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read an export, or all of a folder.

    Raises:
        DataError: There is none.
        UsageError: There are several text fields, and none is chosen.
    """
    return read_transcripts(root, transcript_files(root, SUFFIXES), parse, options, quarantine)


def parse(path: Path, stem: str, options: ReadOptions, quarantine: Quarantine) -> list[Transcript]:
    """Parse one export: a transcript per task.

    Raises:
        DataError: Not JSON, or not a list of tasks.
    """
    try:
        tasks = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not JSON ({error}). Export it again from Label Studio."
        ) from error
    if isinstance(tasks, dict):
        tasks = [tasks]
    if not isinstance(tasks, list):
        raise DataError(f"{path}: not a list of tasks. Export JSON or JSON-MIN from Label Studio.")
    transcripts: list[Transcript] = []
    for n, task in enumerate(tasks, start=1):
        key = task.get("id", n) if isinstance(task, dict) else n
        found = _task(path, f"task {key}", task)
        if isinstance(found, Transcript):
            transcripts.append(found)
        else:
            detail = f"{path.name} {found.record}: {found.detail}"
            quarantine.add(f"{stem} {found.record}", found.reason, detail, found.n_records)
    return transcripts


def is_export(path: Path) -> bool:
    """Return whether a file looks like an export of Label Studio."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 20)
    except OSError:
        return False
    return head.lstrip()[:1] in (b"[", b"{") and _MARKS.search(head) is not None


@dataclass(slots=True)
class _Region:
    """A stretch of the recording, or all of it, and the texts of it by field."""

    where: str
    start_s: float | None = None
    end_s: float | None = None
    channel: int = 0
    labels: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    wrong: str = ""


def _task(path: Path, where: str, task: Any) -> Transcript | Entry:
    """Return the transcript of a task, or what is wrong with it."""
    if not isinstance(task, dict):
        return Entry(where, "bad annotation", f"not a task but {type(task).__name__}")
    full = "annotations" in task or "completions" in task
    data = task.get("data", {}) if full else task
    audio = _audio(data if isinstance(data, dict) else {})
    if audio is None:
        return Entry(
            where, "missing audio", "no field, or several fields, with the name of a recording"
        )
    if full:
        regions = _regions(where, task)
        if isinstance(regions, Entry):
            return regions
    else:
        regions = _minimal(where, task)
    n_fields = len({name for region in regions for name in region.texts})
    if n_fields > _MAX_FIELDS:
        detail = f"{n_fields} text fields; at most {_MAX_FIELDS} can be meant"
        return Entry(where, "bad annotation", detail, len(regions))
    tiers = _tiers(regions)
    if not tiers:
        return Entry(where, "missing text", "no text in it", max(1, len(regions)))
    name = path_of(audio)
    plain = PurePosixPath(name).with_name(_UPLOAD.sub("", PurePosixPath(name).name))
    stem = plain.stem if plain.suffix.lower() in AUDIO_SUFFIXES else plain.name
    return Transcript(path, stem, tiers, [audio, str(plain)], stems=())


def _audio(data: Mapping[str, Any]) -> str | None:
    """Return the reference to the recording among the fields of a task."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value.strip()}
    named = [v for v in texts.values() if _suffix(v) in AUDIO_SUFFIXES]
    audio = texts.get("audio", named[0] if len(named) == 1 else "")
    return audio if PurePosixPath(path_of(audio)).name not in ("", "..") else None


def _suffix(reference: str) -> str:
    return PurePosixPath(path_of(reference)).suffix.lower()


def _regions(where: str, task: Mapping[str, Any]) -> list[_Region] | Entry:
    """Return the regions of the one annotation of a task that counts."""
    found = task.get("annotations") or task.get("completions") or []
    every = found if isinstance(found, list) else []
    if not all(isinstance(a, dict) for a in every):
        return Entry(where, "bad annotation", "an annotation that is no object, but a text or so")
    done = [a for a in every if not a.get("was_cancelled") and not a.get("skipped")]
    if not done:
        return Entry(where, "missing text", "skipped" if every else "not annotated")
    if len(done) > 1:
        truth = [a for a in done if a.get("ground_truth") is True]
        if len(truth) != 1:
            n_regions = max(len({str(r.get("id")) for r in _results(a)}) for a in done)
            return Entry(
                where,
                "ambiguous",
                f"{len(done)} annotations; mark one as ground truth, or delete the others",
                max(1, n_regions),
            )
        done = truth
    results = done[0].get("result") or []
    if not isinstance(results, list):
        return Entry(
            where,
            "bad annotation",
            f"its result is {json.dumps(results, ensure_ascii=False)[:100]}, no list",
        )
    regions: dict[str, _Region] = {}
    for n, result in enumerate(results):
        value = result.get("value") if isinstance(result, dict) else None
        if value is None and isinstance(result, dict) and result.get("type") == "relation":
            continue  # an arrow from one region to another
        key = str(result.get("id", f"#{n}")) if isinstance(result, dict) else f"#{n}"
        region = regions.setdefault(key, _Region(f"{where} region {key}"))
        if isinstance(value, dict):
            _fill(region, value, str(result.get("from_name", "")))
        else:
            region.wrong = (
                f"a result without a value: {json.dumps(result, ensure_ascii=False)[:100]}"
            )
    return list(regions.values())


def _results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    result = annotation.get("result")
    return [r for r in result if isinstance(r, dict)] if isinstance(result, list) else []


def _fill(region: _Region, value: Mapping[str, Any], name: str) -> None:
    """Add what one result says about a region."""
    if "start" in value or "end" in value:
        start_s, end_s = _seconds(value.get("start")), _seconds(value.get("end"))
        if start_s is None or end_s is None:
            times = (repr(value.get(key))[:40] for key in ("start", "end"))
            region.wrong = f"its times are {' and '.join(times)}"
        else:
            region.start_s, region.end_s = start_s, end_s
    channel = value.get("channel", 0)
    if isinstance(channel, int) and 0 <= channel < 1000:
        region.channel = int(channel)
    labels = value.get("labels")
    if isinstance(labels, list):
        region.labels += [label for label in labels if isinstance(label, str)]
    text = value.get("text")
    parts = [text] if isinstance(text, str) else text
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        region.texts[name] = " ".join(parts)
    elif "text" in value:
        region.wrong = f"its text in field {name!r} is {json.dumps(text, ensure_ascii=False)[:100]}"


def _seconds(number: Any) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    try:
        return float(number) if math.isfinite(number) else None
    except OverflowError:  # JSON has integers of any size
        return None


def _minimal(where: str, task: Mapping[str, Any]) -> list[_Region]:
    """Return the regions of a task of JSON-MIN."""
    marked: list[list[_Region]] = []
    texts: dict[str, list[Any]] = {}
    broken: list[_Region] = []
    for name, value in task.items():
        items = value if isinstance(value, list) else [value]
        if name in _OWN_FIELDS or name == "audio" or not items:
            continue
        if all(isinstance(item, dict) and "start" in item and "text" not in item for item in items):
            marked.append([])
            for n, item in enumerate(items):
                marked[-1].append(_Region(f"{where} {name} {n + 1}"))
                _fill(marked[-1][-1], item, name)
        elif isinstance(value, str) and _suffix(value) in AUDIO_SUFFIXES:
            continue
        elif all(isinstance(i, str) or (isinstance(i, dict) and "text" in i) for i in items):
            texts[name] = items
        elif any(isinstance(i, str) or (isinstance(i, dict) and "text" in i) for i in items):
            wrong = f"only some of its {len(items)} values are texts"
            broken.append(_Region(f"{where} {name}", wrong=wrong, texts={name: ""}))
    regions = marked[0] if len(marked) == 1 else []
    alone: list[_Region] = []
    for name, items in texts.items():
        timed = [item for item in items if isinstance(item, dict) and "start" in item]
        plain = [item for item in items if isinstance(item, str) or "start" not in item]
        at = {(region.start_s, region.end_s): region for region in regions}
        for n, item in enumerate(timed):
            region = _Region(f"{where} {name} {n + 1}")
            _fill(region, item, name)
            same = at.get((region.start_s, region.end_s))
            if same is None or region.wrong:
                alone.append(region)
            else:
                _fill(same, item, name)
        free = [region for region in regions if name not in region.texts]
        in_order = len(plain) == len(free)
        for n, item in enumerate(plain):
            region = free[n] if in_order else _Region(f"{where} {name} {n + 1}")
            _fill(region, {"text": item} if isinstance(item, str) else item, name)
            if in_order:
                continue
            if marked or len(items) > 1:
                region.wrong = (
                    f"{len(plain)} texts and {len(free)} regions are left, and JSON-MIN does not"
                    " say which belong together; export JSON"
                )
            alone.append(region)
    return regions + alone + broken


def _tiers(regions: Iterable[_Region]) -> list[Tier]:
    """Return a tier per text field, and per channel where there are several."""
    regions = list(regions)
    split = any(region.channel for region in regions)
    names = dict.fromkeys(name for region in regions for name in region.texts)
    tiers: dict[tuple[str, int | None], Tier] = {}
    for name in names:
        for region in regions:
            channel = region.channel if split else None
            tier = tiers.setdefault((name, channel), Tier(name, tree=name, channel=channel))
            _add(tier, region)
    return list(tiers.values())


def _add(tier: Tier, region: _Region) -> None:
    where = region.where
    start_s, end_s = region.start_s, region.end_s
    text = region.texts.get(tier.name)
    if text is None and (region.texts if region.wrong else start_s is None):
        return  # it belongs to another field
    if region.wrong:
        tier.problems.append(Entry(where, "bad annotation", f"{where}: {region.wrong}"))
    elif text is None:
        detail = f"{where}: marked, and no text in field {tier.name!r}"
        tier.problems.append(Entry(where, "missing text", detail))
    else:
        custom = {"label": ", ".join(region.labels)} if region.labels else {}
        if start_s is None or end_s is None:
            start_s, end_s = 0.0, math.inf
        tier.annotations.append(Annotation(where, text, start_s, end_s, custom=custom))
