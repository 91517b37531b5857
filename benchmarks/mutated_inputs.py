"""Damaged transcripts: no parser may crash, hang, or let a row vanish without a word.

Every format has a few good files (``mutated_formats``); each is damaged at random (cut off, bytes
flipped, lines swapped, parts doubled or lost, numbers made absurd, strange bytes put in), one to
four times, and goes the way of ``xlasr prepare``: read, tidied, decoded, split, written as
manifests. What may come out: rows, rows listed with a reason, or an XlasrError.

    python -m benchmarks.mutated_inputs                  # 10,000 of each format
    python -m benchmarks.mutated_inputs --inputs 300 --only elan praat-binary

Outcomes: "read" (all rows), "listed" (some or all of them only with a reason), "error" (an
XlasrError for the whole), "crash" (any other exception), "hang" (more than two seconds of CPU time)
and "silent": fewer rows come out and are listed than the damaged file has (``Format.rows``), or
none at all. Exit code 1 if there is any of the last three.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.mutated_formats import FORMATS, Format
from benchmarks.whole_files import wav

from xlasr.data.arrange import arrange
from xlasr.data.audio import DEFAULT_LIMITS
from xlasr.data.card import Card
from xlasr.data.clips import make_clips
from xlasr.data.intake import Where, read_options, read_records
from xlasr.data.prepare import write_clips
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.folder import AUDIO_SUFFIXES
from xlasr.data.splits import SPLITS
from xlasr.errors import XlasrError

LIMIT_S = 2.0
WHOLE = {"bad transcript", "missing text", "missing audio", "missing tier", "ambiguous"}
"""Reasons that can stand for a file or a task as a whole, however many rows it has."""
TOLD = ("not read (annotations)", "cue numbers jump")
SECONDS = 6.0  # of sound; what lies beyond is out of range


def cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flip_bytes(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 40])):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def swap_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def lose_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    return b"\n".join(lines[:at] + lines[at + rng.randrange(1, 4) :])


def double_part(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:b] + content[a:b] * rng.choice([1, 1, 2, 20]) + content[b:]


def lose_part(content: bytes, rng: random.Random) -> bytes:
    a = rng.randrange(len(content) + 1)
    return content[:a] + content[a + rng.choice([1, 2, 8, 100]) :]


def change_number(content: bytes, rng: random.Random) -> bytes:
    digits = [i for i in range(len(content)) if content[i : i + 1].isdigit()]
    if not digits:
        return content
    number = rng.choice([b"-1", b"0", b"1e999", b"99999999999", b"-0", b"nan", b"1e-300", b"2.5",
                         b"9" * 5000, b"", b"4294967295"])  # fmt: skip
    at = rng.choice(digits)
    return content[:at] + number + content[at + rng.choice([0, 1]) :]


def swap_texts(content: bytes, rng: random.Random) -> bytes:
    """Exchange quoted texts: what is left is well-formed, and makes no sense."""
    texts = [match.span() for match in re.finditer(rb'"[^"\n]*"', content)]
    if len(texts) < 2:
        return content
    (a, b), (c, d) = sorted(rng.sample(texts, 2))
    other = rng.choice([content[a:b], content[a:b], b'""'])
    return content[:a] + content[c:d] + content[b:c] + other + content[d:]


def put_in(content: bytes, rng: random.Random) -> bytes:
    strange = rng.choice([b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b'""', b"<", b"-->", b"]]>",
                          b"&lol;", b"\t", b"\r", b"{", b"[", b"\xed\xa0\x80", b"\xff" * 4,
                          b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"\\", b"[" * 2000])  # fmt: skip
    at = rng.randrange(len(content) + 1)
    return content[:at] + strange + content[at:]


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    cut_off, flip_bytes, swap_lines, lose_lines, double_part, lose_part, change_number, put_in,
    swap_texts, swap_texts,
]  # fmt: skip


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return ``content`` damaged in one to four ways."""
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        content = rng.choice(DAMAGES)(content, rng)[:200_000]
    return content


class TooSlow(BaseException):
    """The limit of CPU time is over; not an Exception, so that no parser can catch it."""


def set_up(format: Format, folder: Path) -> None:
    """Put what lies beside the damaged file into a folder."""
    sound = wav(SECONDS)
    for name, text in {"a.wav": "", **format.beside}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound if path.suffix in AUDIO_SUFFIXES else text.encode())


def read(format: Format, content: bytes, folder: Path, work: Path) -> str:
    """Make a corpus of one damaged file.

    Args:
        format: What it was.
        content: The file.
        folder: Where ``set_up`` was; the file comes to it.
        work: A folder for everything else.

    Returns:
        "read", "listed", "error" or "silent".

    Raises:
        TooSlow: It hangs.
    """
    path = folder / (format.name or f"a{format.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    work.mkdir(exist_ok=True)

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # of CPU time: other work does not count
    try:
        return _read(format, content, folder if format.name else path, work)
    except XlasrError:
        return "error"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        shutil.rmtree(work / "scratch", ignore_errors=True)


def _read(format: Format, content: bytes, root: Path, work: Path) -> str:
    said: list[str] = []
    quarantine = Quarantine()
    where = Where(root, format.reader, "cs", "unknown", "", None)
    given: dict[str, Any] = {**format.options, "scratch": work / "scratch"}
    options = read_options(where, said.append, **given)
    records = read_records(root, where, options, quarantine, copy_audio=True)
    clips = make_clips(
        records,
        quarantine,
        copies=None,
        limits=DEFAULT_LIMITS,
        workers=1,
        advance=lambda n: None,
        dry=True,
    )
    if clips:
        arranged = arrange(clips, where.folder, None, None, None, quarantine=quarantine)
        write_clips(work, clips, arranged, Card("cs"), quarantine)
        splits = {f"{side}.jsonl" for side in SPLITS}
        written = [f for f in work.iterdir() if f.name in splits]
        if sum(f.read_bytes().count(b"\n") for f in written) != len(arranged.keep):
            return "silent"
    else:
        quarantine.save(work / "quarantine.jsonl")
    # Tiers of annotations that were not chosen, and cues that are missing, are told, not listed.
    told = [line for line in said if any(words in line for words in TOLD)]
    n_told = sum(int(n) for line in told for n in re.findall(r"\((\d+)\)", line))
    whole = format.whole and any(entry.reason in WHOLE for entry in quarantine)
    if not clips and not len(quarantine):
        return "silent"
    read = [clip.record.text for clip in clips]
    listed = "\n".join(entry.detail for entry in quarantine)
    n_wanted = format.rows(content, read, listed)
    if len(read) + len(quarantine) + n_told < n_wanted and not whole:
        return "silent"
    return "listed" if len(quarantine) else "read"


def run(name: str, n_inputs: int, seed: int, keep: Path | None = None) -> dict[str, float]:
    """Read ``n_inputs`` damaged files of a format; return counts and the slowest in ms."""
    format = FORMATS[name]
    rng = random.Random(f"{seed}-{name}")
    counts: Counter[str] = Counter()
    slowest_ms = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder, work = Path(scratch) / "in", Path(scratch) / "work"
        set_up(format, folder)
        for n in range(n_inputs):
            content = damage(rng.choice(format.good), rng)
            began = time.process_time()
            try:
                outcome = read(format, content, folder, work)
            except TooSlow:
                outcome = "hang"
            except Exception:
                outcome = "crash"
                traceback.print_exc()
            counts[outcome] += 1
            slowest_ms = max(slowest_ms, 1000 * (time.process_time() - began))
            if outcome in ("hang", "crash", "silent"):
                print(f"{name} input {n} (seed {seed}): {outcome}", file=sys.stderr)
                if keep:
                    (keep / f"{name}-{n}{format.suffix}").write_bytes(content)
    return {**counts, "slowest_ms": slowest_ms}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--keep", type=Path, help="folder for the inputs that went wrong")
    arguments = parser.parse_args()
    columns = ("read", "listed", "error", "crash", "hang", "silent")
    print("| format | inputs | " + " | ".join(columns) + " | slowest, ms CPU |")
    print("|---" * (len(columns) + 3) + "|")
    wrong = 0
    for name in arguments.only:
        found = run(name, arguments.inputs, arguments.seed, arguments.keep)
        cells = " | ".join(str(int(found.get(column, 0))) for column in columns)
        print(f"| {name} | {arguments.inputs} | {cells} | {found['slowest_ms']:.0f} |", flush=True)
        wrong += int(sum(found.get(column, 0) for column in ("silent", "crash", "hang")))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
