"""Damaged transcripts: no parser may crash, hang, or let a file vanish without a word.

Every format has a few good files; each is damaged at random (cut off, bytes flipped, lines swapped,
parts doubled or lost, numbers made absurd, strange bytes put in), one to four times, and read as
``xlasr prepare`` reads it. What may come out: records, entries in the quarantine, or an XlasrError.

    python benchmarks/mutated_inputs.py                  # 10,000 of each format
    python benchmarks/mutated_inputs.py --inputs 300 --only elan praat-binary

A file that takes more than two seconds of CPU time counts as a hang, one for which nothing is
reported and nothing is read as silent. Exit code 1 if there is any of these, or a crash.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, ReadOptions
from xlasr.errors import XlasrError

LIMIT_S = 2.0

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/a.wav" MIME_TYPE="audio/x-wav" TIME_ORIGIN="250"
 RELATIVE_MEDIA_URL="./a.wav"/></HEADER>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/>
<TIME_SLOT TIME_SLOT_ID="ts2"/>
<TIME_SLOT TIME_SLOT_ID="ts3"/>
<TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2500"/>
<TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="3000"/>
<TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="4250"/>
</TIME_ORDER>
<TIER TIER_ID="věta" LINGUISTIC_TYPE_REF="utterance" PARTICIPANT="Eva">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>Dobrý den &amp; vítejte.</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts6">
<ANNOTATION_VALUE>Jak se máte?</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="slovo" LINGUISTIC_TYPE_REF="words" PARENT_REF="věta" PARTICIPANT="Eva">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>Dobrý</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>den</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>vítejte</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="glosa" LINGUISTIC_TYPE_REF="gloss" PARENT_REF="slovo">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a3">
<ANNOTATION_VALUE>good</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a7" ANNOTATION_REF="a4">
<ANNOTATION_VALUE>d</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a8" ANNOTATION_REF="a4" PREVIOUS_ANNOTATION="a7">
<ANNOTATION_VALUE>ay</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="utterance" TIME_ALIGNABLE="true"/>
<LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" LINGUISTIC_TYPE_ID="words" TIME_ALIGNABLE="true"/>
<LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Subdivision" LINGUISTIC_TYPE_ID="gloss"/>
</ANNOTATION_DOCUMENT>
"""
TIERS = [("slova", [(0.0, 1.5, 'řekl "ano"'), (1.5, 2.25, ""), (2.25, 5.5, "! <exists> 7")])]
SRT = """1
00:00:00,500 --> 00:00:01,750
<i>Dobrý</i> den.

2
00:00:02,000 --> 00:00:04,250
Jak se
máte?

3
00:00:04,300 --> 00:00:06,000
Děkuji, dobře.
"""
VTT = """WEBVTT

NOTE nikdo

úvod
00:00.500 --> 00:01.750 align:start
<v Eva>Dobrý <c.x>den</c>.</v>

00:00:02.000 --> 00:00:04.250
<v Jan>Jak se <00:03.000>máte &amp; vy?</v>
"""
LABELS = "0.5\t1.75\tDobrý den.\n\\\t100.0\t2000.0\n2.0\t4.25\tJak se máte?\n5.0\t5.0\tbod\n"
TABLE = 'audio,start,end,text\na.wav,0.5,1.75,"Dobrý, den."\na.wav,2.0,4.25,Jak se máte?\n'


def textgrid(*, short: bool) -> str:
    """A TextGrid as text."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]

    def put(name: str, value: str) -> None:
        lines.append(value if short else f"{name} = {value}")

    put("xmin", "0"), put("xmax", "5.5")
    lines.append("<exists>" if short else "tiers? <exists>")
    put("size", str(len(TIERS)))
    for name, intervals in TIERS:
        put("class", '"IntervalTier"'), put("name", f'"{name}"')
        put("xmin", "0"), put("xmax", "5.5"), put("intervals: size", str(len(intervals)))
        for start, end, text in intervals:
            put("xmin", str(start)), put("xmax", str(end))
            put("text", '"' + text.replace('"', '""') + '"')
    return "\n".join(lines) + "\n"


def binary_textgrid() -> bytes:
    """A TextGrid in Praat's binary form."""

    def text(value: str) -> bytes:
        if value.isascii():
            return struct.pack(">H", len(value)) + value.encode()
        return b"\xff\xff" + struct.pack(">H", len(value)) + value.encode("utf-16-be")

    parts = [b"ooBinaryFile\x08TextGrid", struct.pack(">dd?i", 0, 5.5, True, len(TIERS))]
    for name, intervals in TIERS:
        parts += [b"\x0cIntervalTier", text(name), struct.pack(">ddi", 0, 5.5, len(intervals))]
        for start, end, label in intervals:
            parts += [struct.pack(">dd", start, end), text(label)]
    return b"".join(parts)


def label_studio(*, minimal: bool) -> str:
    """An export of Label Studio."""
    spans = [(0.5, 1.75, "Dobrý den."), (2.0, 4.25, "Jak se máte?")]
    labels = [{"start": a, "end": b, "channel": 0, "labels": ["Eva"]} for a, b, _ in spans]
    if minimal:
        task = {"audio": "/data/upload/7/0a1b2c3d-a.wav", "id": 1, "label": labels,
                "transcription": [text for _, _, text in spans], "lead_time": 1.5}  # fmt: skip
        return json.dumps([task], indent=1)
    result = []
    for n, (a, b, text) in enumerate(spans):
        value = {"start": a, "end": b, "channel": n}
        result.append({"id": f"r{n}", "value": labels[n], "from_name": "label", "type": "labels"})
        result.append({"id": f"r{n}", "value": {**value, "text": [text]},
                       "from_name": "transcription", "type": "textarea"})  # fmt: skip
    task = {"id": 1, "annotations": [{"result": result, "was_cancelled": False}],
            "data": {"audio": "/data/local-files/?d=x/a.wav"}}  # fmt: skip
    return json.dumps([task], indent=1)


@dataclass(frozen=True)
class Format:
    """What is damaged.

    Args:
        reader: Name of the reader.
        suffix: Of the file.
        good: Whole files.
        options: For the reader.
        single: A source is one file, so that one without rows cannot vanish among others.
        name: Where the damaged file stands in a folder that is the source; else it is the source.
        beside: What else is in that folder; of an empty content only the name counts.
    """

    reader: str
    suffix: str
    good: list[bytes]
    options: dict[str, object] = field(default_factory=dict)
    single: bool = False
    name: str = ""
    beside: dict[str, str] = field(default_factory=dict)


CV = (
    "client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale\n"
    'x1\ta.wav\tŘekl: "Ano".\t2\t0\tcs\nx2\ta.wav\tDva\tsloupce\t3\t1\tcs\n'
)
NEMO = (
    '{"audio_filepath": "a.wav", "duration": 1.5, "offset": 0.5, "text": "Dobrý den."}\n'
    '{"audio_filepath": "a.wav", "duration": 2, "text": "Jak \\u00e1no?", "speaker": "Eva"}\n'
)
SUPERVISION = (
    '{"id": "s1", "recording_id": "r", "start": 0.5, "duration": 1.25, "channel": 0,'
    ' "text": "Ano", "speaker": "Eva"}'
)
RECORDING = (
    '{"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],'
    ' "sampling_rate": 16000, "num_samples": 48000, "duration": 3.0, "channel_ids": [0]}'
)
CUT = (
    '{"id": "c", "start": 0, "duration": 3.0, "channel": 0, "supervisions": ['
    f'{SUPERVISION}], "recording": {RECORDING}, "type": "MonoCut"}}'
)
WAV_SCP = {"wav.scp": "r a.wav\np cat x |\n", "text": "u1 Ano\nu2 Ne\n"}
YAML = "- {duration: 1.5, offset: 0.5, speaker_id: spk.1, wav: a.wav}\n" * 3

FORMATS = {
    "elan": Format("elan", ".eaf", [EAF.encode()], {"tiers": ["věta", "slovo", "glosa"]}),
    "praat-long": Format(
        "praat", ".TextGrid", [textgrid(short=False).encode(c) for c in ("utf-8", "utf-16")]
    ),
    "praat-short": Format(
        "praat", ".TextGrid", [textgrid(short=True).encode(c) for c in ("utf-8", "utf-16")]
    ),
    "praat-binary": Format("praat", ".TextGrid", [binary_textgrid()]),
    "srt": Format("subtitles", ".srt", [SRT.encode(c) for c in ("utf-8", "utf-16")]),
    "vtt": Format("subtitles", ".vtt", [VTT.encode()]),
    "audacity": Format("subtitles", ".txt", [LABELS.encode()]),
    "labelstudio": Format("labelstudio", ".json", [label_studio(minimal=False).encode()]),
    "labelstudio-min": Format("labelstudio", ".json", [label_studio(minimal=True).encode()]),
    "table": Format("table", ".csv", [TABLE.encode()], single=True),
    "common_voice": Format(
        "common_voice", "", [CV.encode()], name="train.tsv", beside={"clips/a.wav": ""}
    ),
    "nemo": Format("nemo", ".json", [NEMO.encode()]),
    "kaldi-segments": Format(
        "kaldi", "", [b"u1 r 0.5 1.25\nu2 r 2 -1\nu3 p 0 1\n"], name="segments", beside=WAV_SCP
    ),
    "kaldi-wav.scp": Format(
        "kaldi", "", [b"u1 a.wav\nu2 cat x |\n"], name="wav.scp", beside={"text": "u1 A\nu2 B\n"}
    ),
    "lhotse-cuts": Format("lhotse", ".jsonl", [f"{CUT}\n{CUT}\n".encode()]),
    "lhotse-cuts-gz": Format("lhotse", ".cuts.jsonl.gz", [gzip.compress(f"{CUT}\n".encode())]),
    "lhotse-pair": Format(
        "lhotse",
        "",
        [f"{SUPERVISION}\n{SUPERVISION}\n".encode()],
        name="supervisions.jsonl",
        beside={"recordings.jsonl": f"{RECORDING}\n"},
    ),
    "jsut": Format("jsut", "", ["a:水を飲む。\nb:ない\n".encode()], name="transcript_utf8.txt"),
    "librispeech": Format("librispeech", "", [b"a DOBRY DEN\nb ANO\n"], name="1-2.trans.txt"),
    "mls": Format(
        "mls",
        "",
        ["7_3_1\tpo česku\n7_3_2\tano\n".encode()],
        name="train/transcripts.txt",
        beside={"train/audio/7/3/7_3_1.flac": ""},
    ),
    "fleurs": Format(
        "fleurs",
        "",
        ["5\ta.wav\tVěta.\tvěta\tv ě\t800\tMALE\n".encode() * 2],
        name="train.tsv",
        beside={"audio/a.wav": ""},
    ),
    "reazonspeech": Format("reazonspeech", ".tsv", ["a.wav\t今日は\nb.wav\tえ\n".encode()]),
    "mustc": Format(
        "mustc",
        "",
        [YAML.encode()],
        name="d/dev/txt/dev.yaml",
        beside={"d/dev/wav/a.wav": "", "d/dev/txt/dev.cs": "A\nB\nC\n"},
    ),
    "audiofolder": Format(
        "huggingface",
        "",
        [NEMO.replace("audio_filepath", "file_name").encode()],
        name="metadata.jsonl",
    ),
}


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


def read(format: Format, content: bytes, folder: Path) -> str:
    """Read one file; return what came out: "read", "partly", "refused" or "silent"."""
    path = folder / (format.name or f"a{format.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for name, text in format.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    root = folder if format.name else path
    quarantine = Quarantine()
    options = ReadOptions("cs", say=lambda line: None, **format.options)  # type: ignore[arg-type]

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # of CPU time: other work does not count
    try:
        records = list(READERS[format.reader](root, options, quarantine))
    except XlasrError:
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if not len(quarantine):
        return "read" if records else "refused" if format.single else "silent"
    return "partly" if records else "refused"


def run(name: str, n_inputs: int, seed: int, keep: Path | None = None) -> dict[str, float]:
    """Read ``n_inputs`` damaged files of a format; return counts and the slowest in ms."""
    rng = random.Random(f"{seed}-{name}")
    counts: Counter[str] = Counter()
    slowest_ms = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "a.wav").touch()
        for n in range(n_inputs):
            content = damage(rng.choice(FORMATS[name].good), rng)
            began = time.process_time()
            try:
                outcome = read(FORMATS[name], content, folder)
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
                    (keep / f"{name}-{n}{FORMATS[name].suffix}").write_bytes(content)
    return {**counts, "slowest_ms": slowest_ms}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--keep", type=Path, help="folder for the inputs that went wrong")
    arguments = parser.parse_args()
    columns = ("read", "partly", "refused", "silent", "crash", "hang")
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
