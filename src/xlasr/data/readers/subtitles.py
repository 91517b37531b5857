r"""Subtitles and labels: SRT, WebVTT and Audacity's label tracks, beside recordings of one stem.

``a.srt``, ``a.vtt`` or ``a.txt`` (lines ``START\tEND\tLABEL``, in seconds) cut ``a.wav``, ``a.mp4``
or whatever else the decoder reads; a recording has one of them. A language may stand before the
suffix, as in ``a.cs.vtt``; then it must be that of the corpus. Marks of style are taken off; a
speaker in ``<v NAME>`` is kept.

Source: https://www.w3.org/TR/webvtt1/ and https://manual.audacityteam.org/man/label_tracks.html.
SRT has no standard: here, as in FFmpeg, a cue goes on until the next one, over blank lines too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from xlasr.data.quarantine import Entry, Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.media import Media
from xlasr.data.readers.segments import (
    Transcript,
    decode_text,
    read_bytes,
    read_transcripts,
    transcript_files,
)
from xlasr.data.readers.tiers import Annotation, Tier
from xlasr.data.text import check_language
from xlasr.errors import DataError, UsageError

SUFFIXES = frozenset({".srt", ".vtt", ".txt"})

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_STAMP = r"\d{2}:\d{2}[.,]\d{3}"
_TIMES_INSIDE = re.compile(rf"\d{{2}}:{_STAMP}|{_STAMP}.{{1,9}}{_STAMP}")
_ARROW = "-->"
_LINE_END = re.compile(r"\r\n|\r|\n")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")  # <i>, <00:01.000>, {\an8}
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>")
_COMMENTS = ("NOTE", "STYLE", "REGION")
_NUMBER = r"-?\d+(?:[.,]\d+)?"
_LABEL = re.compile(rf"({_NUMBER})\t({_NUMBER})(?:\t(.*))?")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a file of subtitles or labels, or all of a folder.

    Raises:
        DataError: There is none.
    """
    folder = root if root.is_dir() else root.parent
    media = Media(folder, options.media)
    files = []
    for path in transcript_files(root, SUFFIXES):
        tag = _tag(path)
        whole = tag is None or media.find(path, (), [path.stem])[0]  # "a.mix.wav" is there
        if tag is None or whole or tag.split("-")[0] == options.language.split("-")[0]:
            files.append(path)
            continue
        detail = (
            f"{path.name}: its name says {tag!r}, and the corpus is in {options.language!r}. If"
            " that is no language, rename the file"
        )
        quarantine.add(path.relative_to(folder).as_posix(), "other language", detail)
    return read_transcripts(root, files, parse, options, quarantine)


def parse(path: Path, stem: str, options: ReadOptions, quarantine: Quarantine) -> list[Transcript]:
    """Parse one file; its suffix tells the format.

    Raises:
        DataError: Another encoding, or neither times nor labels in it.
    """
    lines = _LINE_END.split(decode_text(path, read_bytes(path), options.encoding))
    if path.suffix.lower() == ".txt":
        tier = _labels(lines)
    else:
        tier = _cues(lines, vtt=path.suffix.lower() == ".vtt")
    if not tier.annotations and not any(_ARROW in line for line in lines):
        first = next(filter(str.strip, lines), "")
        raise DataError(
            f"{path}: not one stretch with times in it. Lines such as '00:01:02,500 --> 00:01:05,"
            "000' (SRT, WebVTT) or 'START<tab>END<tab>LABEL' (Audacity) are expected; the first"
            f" line is {first[:60]!r}."
        )
    told = _jumps(lines) if path.suffix.lower() == ".srt" else []
    return [Transcript(path, stem, [tier], stems=_stems(path), told=told)]


def is_labels(path: Path) -> bool:
    """Return whether the first line of a text file is a label of Audacity."""
    try:
        with path.open("rb") as file:
            first = file.readline(4096).decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeError):
        return False
    return _LABEL.fullmatch(first) is not None


def _tag(path: Path) -> str | None:
    """Return the language in a name such as ``a.cs.vtt``; None where there is none."""
    stem, _, tag = path.stem.rpartition(".")
    try:
        return check_language(tag) if stem else None
    except UsageError:
        return None


def _stems(path: Path) -> list[str]:
    """Return what the recording may be called: ``a.cs`` or ``a`` for ``a.cs.vtt``."""
    return [path.stem, *([path.stem.rpartition(".")[0]] if _tag(path) else [])]


def _labels(lines: Sequence[str]) -> Tier:
    tier = Tier("")
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        label = _LABEL.fullmatch(line)
        if label:
            start_s, end_s = (float(cell.replace(",", ".")) for cell in label.group(1, 2))
            tier.annotations.append(Annotation(where, label[3] or "", start_s, end_s))
        elif line.strip() and not line.startswith("\\"):  # "\\": frequencies of the label above
            _problem(tier, number, f"not START<tab>END<tab>LABEL: {line[:60]!r}")
    return tier


def _cues(lines: Sequence[str], *, vtt: bool) -> Tier:
    """Read the cues of SRT or WebVTT."""
    tier = Tier("")
    heads = [i for i, line in enumerate(lines) if _ARROW in line]
    first = heads[0] if heads else len(lines)
    start = 0
    if vtt and lines[0].startswith("WEBVTT"):
        start = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
    _between(tier, lines, start, first, vtt=vtt)
    for n, head in enumerate(heads):
        last = n + 1 == len(heads)
        stop = len(lines) if last else heads[n + 1]
        body = list(lines[head + 1 : stop])
        if vtt:
            blank = next((i for i, line in enumerate(body) if not line.strip()), len(body))
            _between(tier, lines, head + 1 + blank, stop, vtt=True)
            body = body[:blank]
        elif not last:
            number = _number_before(lines, heads[n + 1])
            begun = not body or not lines[stop - (2 if number else 1)].strip()
            body = body[: len(body) - bool(number)]
            if not (begun or number or _TIMES.fullmatch(lines[stop])):
                # The next times cannot be read, or an arrow is a part of this text: who knows.
                _problem(tier, head + 1, f"its text goes on with {lines[stop][:60]!r}")
                continue
        if not vtt and (rest := _next_begun(body, _number_before(lines, head))):
            at = head + 1 + rest
            _problem(tier, at + 1, f"a number, and no times: {' '.join(body[rest:])[:60]!r}")
            body = body[:rest]
        _cue(tier, head + 1, lines[head], body, vtt=vtt)
    return tier


def _next_begun(body: Sequence[str], number: str) -> int:
    """Return where in a text the next number stands below a blank line; 0 where it does not.

    There the next cue begins, whose times are lost; else blank lines are a part of the text.
    """
    after = str(int(number) + 1) if number else ""
    lines = enumerate(pairwise(body), start=1)
    return next((i for i, (above, own) in lines if not above.strip() and own.strip() == after), 0)


def _jumps(lines: Sequence[str]) -> list[str]:
    """Return a remark if the numbers of SRT's cues have gaps."""
    heads = (i for i, line in enumerate(lines) if _ARROW in line)
    numbers = [int(number) for head in heads if (number := _number_before(lines, head))]
    gaps = [(a, b) for a, b in pairwise(numbers) if b > a + 1]
    if not gaps:
        return []
    first = " to ".join(map(str, gaps[0]))
    n_lost = sum(b - a - 1 for a, b in gaps)
    return [f"cue numbers jump, first from {first} ({n_lost}): are cues lost, or run into others?"]


def _number_before(lines: Sequence[str], head: int) -> str:
    """Return the number of an SRT cue, which stands alone on the line above its times."""
    above = lines[head - 1].strip() if head else ""
    return above if above.isdecimal() and len(above) < 10 else ""


def _between(tier: Tier, lines: Sequence[str], start: int, stop: int, *, vtt: bool) -> None:
    """Report text that belongs to no cue, but for names, numbers, comments and style sheets."""
    block: list[int] = []
    for i in range(start, stop + 1):
        if i < stop and lines[i].strip():
            block.append(i)
            continue
        is_name = i == stop < len(lines) and len(block) == 1
        if is_name and vtt:
            is_name = _TAG.search(lines[block[0]]) is None  # else it is a text whose times are lost
        elif is_name:
            is_name = _number_before(lines, stop) != ""
        is_comment = vtt and bool(block) and lines[block[0]].startswith(_COMMENTS)
        if block and not is_comment and not is_name:
            whole = " ".join(lines[line].strip() for line in block)
            _problem(tier, block[0] + 1, f"text without times: {whole[:60]!r}")
        block = []


def _cue(tier: Tier, number: int, times: str, body: Sequence[str], *, vtt: bool) -> None:
    found = _TIMES.fullmatch(times)
    parts = [int(part or 0) for part in found.groups()] if found else []
    if not parts or max(parts[1], parts[2], parts[5], parts[6]) > 59:
        said = " ".join(line.strip() for line in body if line.strip())
        detail = f"not HH:MM:SS,mmm --> HH:MM:SS,mmm: {times[:60]!r}; its text: {said[:200]!r}"
        _problem(tier, number, detail)
        return
    start_s, end_s = (
        (((h * 60 + m) * 60 + s) * 1000 + ms) / 1000 for h, m, s, ms in (parts[:4], parts[4:])
    )
    text = " ".join(line.strip() for line in body if line.strip())
    voices = {html.unescape(voice).strip() for voice in _VOICE.findall(text)} if vtt else set()
    text = _TAG.sub("", text)
    if damaged := _TIMES_INSIDE.search(text):
        detail = f"times in its text, as if those of another cue were damaged: {damaged[0][:60]!r}"
        _problem(tier, number, f"{detail}; its text: {text[:200]!r}")
        return
    tier.annotations.append(
        Annotation(
            f"line {number}",
            html.unescape(text) if vtt else text,
            start_s,
            end_s,
            speaker=voices.pop() if len(voices) == 1 else None,
        )
    )


def _problem(tier: Tier, number: int, detail: str) -> None:
    tier.problems.append(Entry(f"line {number}", "bad annotation", f"line {number}: {detail}"))
