"""MuST-C (and mTEDx): ``data/SPLIT/txt/SPLIT.yaml`` with times and ``SPLIT.LANGUAGE`` with texts.

Line n of the text belongs to row n of the YAML file, and rows are flow mappings on one line each:
``- {duration: 3.5, offset: 16.08, speaker_id: spk.1, wav: ted_1.wav}``. They are parsed line by
line: a YAML parser takes minutes for as many. Folders ``train``, ``dev``, ``tst-COMMON`` are the
splits (``tst-HE`` is a test set too). The text is that of the language of the corpus; those beside
it are kept as ``translation_LANGUAGE``. A talk is a group.

Source: https://mt.fbk.eu/must-c/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import Sounds, make_record, read_lines, sides_of, span
from xlasr.data.translation import field_of
from xlasr.errors import DataError, UsageError

_ROW = re.compile(r"^\s*-\s*\{(?P<fields>[^{}]*)\}\s*$")
_FIELD = re.compile(r"""\s*(?P<key>\w+)\s*:\s*(?P<value>"[^"]*"|'[^']*'|[^,"']*?)\s*(?:,|$)""")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read all parts below a folder, such as ``MUSTC/en-de``.

    Raises:
        DataError: There is no part.
        UsageError: No text in the language, or the language is not that of the speech.
    """
    paths = parts(list(walk(root))) if root.is_dir() else []
    if not paths:
        raise DataError(f"{root}: no SPLIT/txt/SPLIT.yaml beside SPLIT/wav. Name MUSTC/en-de.")
    language = options.language.split("-")[0].lower()
    pair = paths[0].absolute().parents[3].name  # of PAIR/data/SPLIT/txt/SPLIT.yaml
    spoken = pair.split("-")[0]
    if re.fullmatch(r"[a-z]{2,3}-[a-z]{2,3}", pair) and spoken != language:
        raise UsageError(
            f"{root}: the speech of {pair} is in {spoken!r}; its text in {language!r} is a"
            f" translation. Give --language {spoken}"
        )
    for path, side in zip(paths, sides_of([path.stem for path in paths]), strict=True):
        yield from _part(path, path.with_suffix(f".{language}"), side, options, quarantine)


def parts(files: list[Path]) -> list[Path]:
    """Return the YAML files of the parts among some files."""
    return [
        path
        for path in files
        if path.suffix == ".yaml"
        and path.parent.name == "txt"
        and path.parent.parent.name == path.stem
    ]


def _part(
    path: Path, texts: Path, side: str | None, options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    if not texts.is_file():
        raise UsageError(f"{path.parent}: no {texts.name}. Correct --language.")
    rows = [pair for pair in read_lines(path, "utf-8", quarantine, blank=True) if pair[1].strip()]
    lost: set[int] = set()
    lines = [
        text for _, text in read_lines(texts, options.encoding, quarantine, blank=True, lost=lost)
    ]
    _drop_empty_end(lines, len(rows))
    if len(rows) != len(lines):
        detail = (
            f"{path.name} has {len(rows)} rows and {texts.name} {len(lines)} lines, so that nothing"
            " says which belong together. Copy them again"
        )
        quarantine.add(path.stem, "ambiguous", detail, max(1, len(rows), len(lines)))
        return
    told = dict(_translations(path, texts, len(rows), options, quarantine))
    sounds = Sounds([path.parent.parent / "wav"])
    for n, ((number, line), text) in enumerate(zip(rows, lines, strict=True)):
        where = f"{path.name} line {number}"
        if n + 1 in lost:
            continue  # it stands in the quarantine already
        match = _ROW.match(line)
        row = _fields(match["fields"]) if match else {}
        try:
            name = row["wav"]
            start_s, duration_s = span(row, "offset", "duration", where)
        except (KeyError, ValueError) as error:
            detail = f"{where}: '- {{duration: S, offset: S, wav: NAME}}' is expected ({error})"
            quarantine.add(where, "bad row", f"{detail}; found {line[:200]!r}")
            continue
        talk = name.rsplit(".", 1)[0]
        yield from make_record(
            where,
            f"{path.stem}-{talk}-{n:06d}",
            sounds.find(name),
            sounds.missing(where, name),
            text.strip(),
            quarantine,
            speaker=row.get("speaker_id"),
            group=talk,
            start_s=start_s,
            duration_s=duration_s,
            split=side,
            custom={"part": path.stem, **{k: t[n] for k, t in told.items() if t[n]}},
        )


def _translations(
    path: Path, texts: Path, n_rows: int, options: ReadOptions, quarantine: Quarantine
) -> Iterator[tuple[str, list[str]]]:
    """Texts in other languages, by the field that they are kept in; one for each row."""
    for other in sorted(path.parent.glob(f"{path.stem}.*")):
        language = other.name.removeprefix(f"{path.stem}.")
        if other in (path, texts) or not re.fullmatch(r"[a-z]{2,3}", language):
            continue
        lost: set[int] = set()
        read = read_lines(other, options.encoding, Quarantine(), blank=True, lost=lost)
        lines = [text.strip() for _, text in read]  # of a line that cannot be read the speech stays
        _drop_empty_end(lines, n_rows)
        fits = len(lines) == n_rows
        if fits:
            yield field_of(language), lines
        if not fits or lost:
            detail = (
                f"{other.name} has {len(lines)} lines for {n_rows} rows, {len(lost)} unreadable"
            )
            quarantine.note(other.name, "no translation", detail, len(lost) if fits else n_rows)


def _drop_empty_end(lines: list[str], n_rows: int) -> None:
    """Drop empty lines behind the last row; those before it are rows without a text."""
    while len(lines) > n_rows and not lines[-1].strip():
        lines.pop()


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a flow mapping; what is not one is left out."""
    return {m["key"]: m["value"].strip("\"'") for m in _FIELD.finditer(text) if m["value"]}
