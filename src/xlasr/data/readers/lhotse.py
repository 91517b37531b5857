"""lhotse's manifests (recordings and supervisions, or cuts, as JSONL or JSONL.GZ) and Shar folders.

A supervision is an utterance. Only sources of type "file" are read, and what lies in the tar files
of a Shar folder; a command is never run and an address never fetched. A cut that is mixed or padded
and a recording with transforms (speed, volume) equal no stretch of a file: they stand in the
quarantine. If the name of each manifest says its side ("cuts_train.jsonl.gz"), these are the
splits. The files are parsed here, not by lhotse, which loads PyTorch and stops at the first row
that it does not like.

Source: https://lhotse.readthedocs.io/en/latest/corpus.html
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlasr.data.archives import unpack
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import (
    Sounds,
    as_text,
    make_record,
    read_objects,
    scalars,
    seconds,
    sides_of,
)
from xlasr.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz")
_CUTS = ("MonoCut", "MultiCut", "MixedCut", "PaddingCut")
_KEPT_ELSEWHERE = ("id", "text", "speaker", "start", "duration", "recording_id", "channel")
_SHARD = re.compile(r"^cuts\.(\d+)\.jsonl(\.gz)?$")


class _Unusable(ValueError):
    """Why a supervision cannot be used, with its quarantine reason."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


@dataclass(frozen=True)
class _Context:
    """What every row needs."""

    sounds: Sounds
    quarantine: Quarantine
    split: str | None
    shard: Path | None = None  # the unpacked tar of a Shar folder


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a manifest with its counterpart, or all of a folder.

    Raises:
        DataError: There are no cuts, and no supervisions with recordings.
    """
    kinds = {path: kind_of(path) for path in ([root] if root.is_file() else _files(root))}
    of = {k: [p for p, kind in kinds.items() if kind == k] for k in ("cut", "recording", "sup")}
    if not of["cut"] and root.is_file():
        pair = [_counterpart(root, "recordings"), _counterpart(root, "supervisions")]
        of["recording"], of["sup"] = [pair[0]], [pair[1]]
        if pair[0] == pair[1] or not all(path.is_file() for path in pair):
            names = " and ".join(path.name for path in pair)
            raise DataError(f"{root}: no cuts, and not both {names} in {root.parent}.")
    if of["cut"]:
        passed = of["recording"] + of["sup"]
        if passed:
            names = ", ".join(path.name for path in passed)
            options.say(f"cuts are read; not these, which cuts are made of: {names}")
        yield from _read_cuts(of["cut"], root, options, quarantine)
    elif of["recording"] and of["sup"]:
        yield from _read_pairs(of["recording"], of["sup"], options, quarantine)
    else:
        raise DataError(
            f"{root}: no manifests of lhotse: cuts, or recordings and supervisions, as .jsonl or"
            " .jsonl.gz. Other forms (.json, .yaml): lhotse copy IN OUT.jsonl.gz"
        )


def kind_of(path: Path) -> str | None:
    """Return "cut", "recording" or "sup" by the first row of a manifest; None for other files."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            row = json.loads(file.readline(1 << 20))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):  # a damaged first row: the name decides
        names = {"cut": "cut", "recording": "recording", "supervision": "sup"}
        return next((kind for word, kind in names.items() if word in path.name), None)
    if row.get("type") in _CUTS or "tracks" in row:
        return "cut"
    if "sources" in row:
        return "recording"
    return "sup" if "recording_id" in row and "start" in row else None


def is_manifest(path: Path) -> bool:
    """Return whether a file looks like a manifest of cuts, recordings or supervisions."""
    return path.name.lower().endswith(SUFFIXES) and kind_of(path) is not None


def _files(root: Path) -> list[Path]:
    return [path for path in walk(root) if path.name.lower().endswith(SUFFIXES)]


def _counterpart(path: Path, kind: str) -> Path:
    return path.with_name(re.sub("recordings|supervisions", kind, path.name))


def _read_cuts(
    paths: Sequence[Path], root: Path, options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    # The shards of a Shar folder have the folder's name.
    names = [p.parent.name if _SHARD.match(p.name) else p.name.split(".")[0] for p in paths]
    sides: Sequence[str | None] = sides_of(names) if len(set(names)) > 1 else [None] * len(paths)
    for path, side in zip(paths, sides, strict=True):
        shard = _unpack_shard(path, options, quarantine)
        context = _Context(_sounds(path, options), quarantine, side, shard)
        n_rows = 0
        for where, cut in read_objects(path, quarantine):
            n_rows += 1
            yield from _read_cut(where, cut, context)
        if not n_rows:
            quarantine.add(path.name, "missing text", f"{path.name}: not one row in it")


def _unpack_shard(path: Path, options: ReadOptions, quarantine: Quarantine) -> Path | None:
    match = _SHARD.match(path.name)
    if match is None:
        return None
    tar = path.with_name(f"recording.{match[1]}.tar")
    if not tar.is_file():
        return None
    folder = options.unpack_to(f"shar-{match[1]}")
    try:
        unpack(tar, folder)
    except DataError as error:  # what was unpacked by then can be used
        quarantine.add(tar.name, "bad transcript", str(error))
    return folder


def _read_cut(where: str, cut: Mapping[str, Any], context: _Context) -> Iterator[RawRecord]:
    cut_id = as_text(cut.get("id")) or where
    supervisions = cut.get("supervisions") or []
    try:
        if cut.get("type") not in _CUTS[:2] or not isinstance(supervisions, list):
            raise _Unusable(
                "bad cut",
                f"{where}: a {str(cut.get('type'))[:40]!r}; MonoCut and MultiCut are stretches of"
                " a file. Read the cuts that it was made of",
            )
        start_s = seconds(cut.get("start"), "start of the cut")
        if not isinstance(cut.get("recording"), dict):
            raise _Unusable("missing audio", f"{where}: a cut without recording (features only?)")
    except ValueError as error:
        reason = error.reason if isinstance(error, _Unusable) else "bad row"
        context.quarantine.add(cut_id, reason, str(error)[:2000], _n_supervisions(cut))
        return
    if not supervisions:
        context.quarantine.add(cut_id, "missing text", f"{where}: a cut without supervision")
    for supervision in supervisions:
        yield from _utterance(where, supervision, cut["recording"], start_s, cut_id, context)


def _n_supervisions(cut: Mapping[str, Any]) -> int:
    """Return how many utterances a cut of any kind holds; at least 1, for the cut itself."""
    tracks = cut.get("tracks")
    inner = (
        [t.get("cut") for t in tracks if isinstance(t, dict)] if isinstance(tracks, list) else []
    )
    cuts = [cut, *(c for c in inner if isinstance(c, dict))]
    lists = [c.get("supervisions") for c in cuts]
    return max(1, sum(len(found) for found in lists if isinstance(found, list)))


def _utterance(
    where: str,
    supervision: object,
    recording: Mapping[str, Any],
    offset_s: float,
    cut_id: str,
    context: _Context,
) -> Iterator[RawRecord]:
    """Yield the record of one supervision, or report why there is none."""
    name = cut_id
    try:
        if not isinstance(supervision, dict):
            raise _Unusable("bad row", "a supervision that is no object")
        name = as_text(supervision.get("id")) or cut_id
        start_s = offset_s + seconds(supervision.get("start"), "start")
        duration_s = seconds(supervision.get("duration"), "duration")
        if duration_s <= 0:
            raise _Unusable("zero length", f"its duration is {duration_s} s")
        if start_s < -1e-6:
            raise _Unusable("out of range", f"it starts at {start_s} s, before the recording")
        source, channel = _source(supervision.get("channel", 0), recording)
        audio, missing = _audio(where, source, cut_id, context)
    except ValueError as error:
        reason = error.reason if isinstance(error, _Unusable) else "bad row"
        context.quarantine.add(name, reason, f"{where}, supervision {name}: {error}"[:2000])
        return
    text = supervision.get("text")
    custom = supervision.get("custom")
    yield from make_record(
        where,
        name,
        audio,
        missing,
        text if isinstance(text, str) else None,
        context.quarantine,
        speaker=as_text(supervision.get("speaker")),
        start_s=max(0.0, start_s),
        duration_s=duration_s,
        channel=channel,
        split=context.split,
        custom={
            **scalars(supervision, but=_KEPT_ELSEWHERE),
            **(scalars(custom) if isinstance(custom, dict) else {}),
        },
    )


def _source(channel: object, recording: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    """Return the source of a recording that has a channel, and the channel's number in that file.

    Raises:
        _Unusable: There is none, or the recording is not what lies in the file.
    """
    if recording.get("transforms"):
        raise _Unusable("bad cut", "its recording has transforms; read the unchanged manifest")
    wanted = channel if isinstance(channel, list) else [channel]
    sources = recording.get("sources")
    for source in sources if isinstance(sources, list) else []:
        channels = source.get("channels") if isinstance(source, dict) else None
        if isinstance(channels, list) and wanted and all(c in channels for c in wanted):
            if len(wanted) == len(channels):
                return source, None
            if len(wanted) == 1:
                return source, channels.index(wanted[0])
            raise _Unusable("bad cut", f"channels {wanted} of {channels}: name one or all")
    raise _Unusable("missing audio", f"no source of its recording has channel {channel!r}"[:500])


def _audio(
    where: str, source: Mapping[str, Any], cut_id: str, context: _Context
) -> tuple[Path | None, str]:
    kind, name = source.get("type"), source.get("source")
    if kind == "shar":
        shard = context.shard
        if shard is None or ".." in Path(cut_id).parts:
            return None, f"{where}: no recording.*.tar beside the cuts that holds {cut_id!r}"
        beside = (shard / cut_id).parent
        stem = Path(cut_id).name
        for suffix in ("flac", "wav", "mp3", "opus", "original"):
            path = beside / f"{stem}.{suffix}"
            if path.is_file():
                return path, ""
        return None, f"{where}: its tar file holds no sound of {cut_id!r}"
    if kind != "file" or not isinstance(name, str):
        detail = f"its source is of type {kind!r} ({str(name)[:200]!r}); only files are read"
        raise _Unusable("not a file", detail)
    return context.sounds.find(name), context.sounds.missing(where, name)


def _sounds(path: Path, options: ReadOptions) -> Sounds:
    # lhotse's relative paths begin where it was started: often some folders above.
    return Sounds([path.parent, *list(path.absolute().parents)[1:4]], options.media)


def _read_pairs(
    recordings: Sequence[Path],
    supervisions: Sequence[Path],
    options: ReadOptions,
    quarantine: Quarantine,
) -> Iterator[RawRecord]:
    """Yield the utterances of supervisions, each with the recordings of its own counterpart."""
    names = [path.name.split(".")[0] for path in supervisions]
    sides: Sequence[str | None] = sides_of(names) if len(names) > 1 else [None]
    tables = {path: _table(path, quarantine) for path in recordings}
    used: set[tuple[Path, str]] = set()
    for path, side in zip(supervisions, sides, strict=True):
        own = _counterpart(path, "recordings")
        known = {own: tables[own]} if own in tables else tables
        for where, row in read_objects(path, quarantine):
            recording_id = as_text(row.get("recording_id")) or ""
            table = next((t for t in known if recording_id in known[t]), None)
            row_id = as_text(row.get("id")) or where
            if table is None:
                detail = f"{where}: recording {recording_id!r} is in no manifest of recordings"
                quarantine.add(row_id, "missing audio", detail)
                continue
            used.add((table, recording_id))
            context = _Context(_sounds(table, options), quarantine, side)
            yield from _utterance(where, row, known[table][recording_id], 0.0, row_id, context)
    for table, rows in tables.items():
        for name in rows:
            if (table, name) not in used:
                quarantine.add(name, "missing text", f"{table.name}: no supervision for {name!r}")


def _table(path: Path, quarantine: Quarantine) -> dict[str, dict[str, Any]]:
    """Return the recordings of a manifest by id."""
    found: dict[str, dict[str, Any]] = {}
    for where, row in read_objects(path, quarantine):
        name = as_text(row.get("id"))
        if name is None or name in found:
            detail = f"{where}: {'no id' if name is None else f'{name!r} is there twice'}"
            quarantine.add(where, "bad row" if name is None else "duplicate id", detail)
        else:
            found[name] = row
    return found
