"""Kaldi data directories: ``wav.scp``, ``text``, and where there are any ``segments``, ``utt2spk``.

Of a folder of several data directories all are read; if the name of each says its side
("train_clean_100", "dev", "test"), these are the splits. Relative paths begin at the data directory
or one of the three folders above it, as Kaldi's begin where its scripts were started. A recording
that is a command (``sph2pipe ... |``) or a place in an archive (``raw.ark:123``) is never run or
read: its utterances stand in the quarantine.

Source: https://kaldi-asr.org/doc/data_prep.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import Sounds, make_record, read_lines, seconds, sides_of
from xlasr.errors import DataError

_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a data directory, or all below a folder.

    Raises:
        DataError: There is none.
    """
    folders = data_dirs(root)
    if not folders:
        raise DataError(f"{root}: no Kaldi data directory: a folder with wav.scp and text.")
    names = [folder.name for folder in folders]
    sides = sides_of(names) if len(folders) > 1 else [None]
    for folder, side in zip(folders, sides, strict=True):
        if len(folders) > 1:
            options.say(f"{folder.relative_to(root)}: split {side or 'ours'}")
        yield from _read_dir(folder, side, options, quarantine)


def data_dirs(root: Path) -> list[Path]:
    """Return the data directories at or below a folder."""
    if not root.is_dir():
        return []
    if (root / "wav.scp").is_file():
        return [root] if (root / "text").is_file() else []
    found = [path.parent for path in walk(root) if path.name == "wav.scp"]
    return [folder for folder in found if (folder / "text").is_file()]


def _read_dir(
    folder: Path, side: str | None, options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    has_segments = (folder / "segments").is_file()
    recordings = _pairs(folder / "wav.scp", options, quarantine)
    texts = _pairs(folder / "text", options, quarantine)
    segments = _pairs(folder / "segments", options, quarantine) if has_segments else {}
    spk = folder / "utt2spk"
    speakers = _pairs(spk, options, quarantine) if spk.is_file() else {}
    if (folder / "reco2file_and_channel").is_file():
        options.say("reco2file_and_channel is not read: recordings are used as wav.scp names them")
    sounds = Sounds([folder, *list(folder.parents)[:3]], options.media)
    rows = segments if has_segments else {key: (n, key) for key, (n, _) in recordings.items()}
    if spk.is_file():
        n_missing, n_unknown = len(rows.keys() - speakers), len(speakers.keys() - rows)
        if n_missing or n_unknown:
            options.say(
                f"{folder.name}/utt2spk: {n_missing} utterances are not in it, and {n_unknown} of "
                "its lines are of none"
            )
    for key in dict.fromkeys([*rows, *texts]):
        where = f"{folder.name}/{'segments' if has_segments else 'wav.scp'} {key}"
        text = texts[key][1] if key in texts else None
        if key not in rows:
            detail = f"{where}: {key!r} is in text and not there"
            quarantine.add(key, "missing audio", detail)
            continue
        try:
            recording, start_s, duration_s = (
                _segment(rows[key][1]) if has_segments else (key, 0.0, None)
            )
        except ValueError as error:
            quarantine.add(key, "bad row", f"{where}: {error}")
            continue
        name = recordings[recording][1] if recording in recordings else ""
        if refusal := _refusal(name):
            quarantine.add(key, "not a file", f"{where}: {name[:200]!r} {refusal}")
            continue
        missing = sounds.missing(where, name)
        if not name:
            missing = f"{where}: recording {recording[:200]!r} has no file in wav.scp"
        yield from make_record(
            where,
            key,
            sounds.find(name),
            missing,
            text,
            quarantine,
            speaker=speakers[key][1] or None if key in speakers else None,
            start_s=start_s,
            duration_s=duration_s,
            split=side,
        )


def _pairs(path: Path, options: ReadOptions, quarantine: Quarantine) -> dict[str, tuple[int, str]]:
    """Return key -> (line number, rest of the line) of one of Kaldi's tables."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path, options.encoding, quarantine):
        key, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        if key in found:
            where = f"{path.name} line {number}"
            detail = f"{where}: {key!r} stands in line {found[key][0]} too; that one is used"
            quarantine.add(where, "duplicate id", detail)
        else:
            found[key] = (number, rest.strip())
    return found


def _segment(text: str) -> tuple[str, float, float | None]:
    """Return (recording, start_s, duration_s) of a line of ``segments``.

    Raises:
        ValueError: It is none.
    """
    cells = text.split()
    if len(cells) != 3:
        raise ValueError(f"'RECORDING START END' is expected; found {text[:200]!r}")
    start_s, end_s = seconds(cells[1], "start"), seconds(cells[2], "end")
    if start_s < 0 or (end_s <= start_s and end_s != -1):
        raise ValueError(f"it lasts from {start_s} to {end_s} s")
    return cells[0], start_s, None if end_s == -1 else end_s - start_s  # Kaldi: -1 is the end


def _refusal(name: str) -> str:
    """Return why a recording is not read, or an empty string."""
    if name.endswith("|") or name.startswith("|"):
        advice = "Run it by hand, and write its output's path there"
        return f"is a command; only files are read. {advice}"
    if name == "-":
        return "is standard input; only files are read"
    if _ARCHIVE.search(name):
        return "is a place in a Kaldi archive; only sound files are read"
    return ""
