"""The whole files that ``mutated_inputs`` damages, and the rows that a damaged one accounts for.

What must come out of a damaged file, as a row or in a list, can be counted in the damaged file
itself: where rows are lines, they are its lines; else they are the texts of the whole file that it
still has, once for each time.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

SENTENCES = ("Dobrý den.", "Jak se máte?")
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
EAF_TEXTS = "Dobrý den & vítejte.|Jak se máte?|Dobrý|den|vítejte|good|d|ay".split("|")
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
VTT_COMMENTS = r"(?m)(^(NOTE|STYLE|REGION)|\AWEBVTT).*(\n.+)*"
LABELS = "0.5\t1.75\tDobrý den.\n\\\t100.0\t2000.0\n2.0\t4.25\tJak se máte?\n5.0\t5.0\tbod\n"
TABLE_TSV = 'audio\tstart\tend\ttext\na.wav\t0.5\t1.75\t"Ja", nein\na.wav\t2\t4\t"a ""b"""\n'
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
    spans = [(0.5, 1.75, SENTENCES[0]), (2.0, 4.25, SENTENCES[1])]
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


RowsFn = Callable[[bytes, Sequence[str], str], int]
"""(damaged file, texts read, all that is listed) -> how many rows must be read or listed."""


@dataclass(frozen=True)
class Format:
    """What is damaged.

    Args:
        reader: Name of the reader.
        good: Whole files.
        rows: See there.
        suffix: Of the file.
        options: For the reader.
        name: Where the damaged file stands in a folder that is the source; else it is the source.
        beside: What else is in that folder; sounds are made.
        whole: A unit of several rows may be listed as one (a file, a task).
    """

    reader: str
    good: list[bytes]
    rows: RowsFn
    suffix: str = ""
    options: dict[str, object] = field(default_factory=dict)
    name: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    whole: bool = False


def wav(seconds: float) -> bytes:
    """Return a sound: noise at 16 kHz."""
    noise = np.random.default_rng(0).integers(-9000, 9000, round(16_000 * seconds), np.int16)
    held = io.BytesIO()
    soundfile.write(held, noise, 16_000, format="WAV")
    return held.getvalue()


def both(text: str) -> list[bytes]:
    """Return a file in UTF-8 and in UTF-16."""
    return [text.encode("utf-8"), text.encode("utf-16")]


def lines(skip: int = 0, but: str = "") -> RowsFn:
    """Count lines that are not blank, without ``skip`` of them and what begins with ``but``."""

    def count(content: bytes, read: Sequence[str], listed: str) -> int:
        found = [line.decode("utf-8", "replace").strip("\ufeff") for line in content.split(b"\n")]
        rows = [
            line for line in found if line.strip() and not (but and line.lstrip().startswith(but))
        ]
        return max(0, len(rows) - skip)

    return count


def texts(
    *wanted: str,
    spelled: Callable[[str], str] = str,
    binary: bool = False,
    inside: bool = False,
    comments: str = "",
) -> RowsFn:
    """Count the texts of the whole file that the damaged one still has.

    Args:
        wanted: One of each row.
        spelled: How one stands in the file.
        binary: It may be in UTF-16 anywhere in the file.
        inside: One that was read or listed as a part of another is found, for nothing may be left
            that tells where rows end.
        comments: What is no row, as a regular expression.
    """

    def count(content: bytes, read: Sequence[str], listed: str) -> int:
        whole = [content.decode(c, "replace") for c in ("utf-8", "utf-16-le")]
        if binary:
            whole += [part.decode("utf-16-be", "replace") for part in (content, content[1:])]
        if comments:
            whole = [re.sub(comments, "", text) for text in whole]
        there = [text for text in wanted if any(spelled(text) in one for one in whole)]
        gone = [
            text
            for text in there
            if text not in read and not (inside and any(text in found for found in [*read, listed]))
        ]
        return min(len(wanted), len(read) + len(gone))

    return count


def exactly(n_rows: int) -> RowsFn:
    """Whatever happens to the file, as many utterances lie beside it."""
    return lambda content, read, listed: n_rows


def intact(good: str) -> RowsFn:
    """Count the lines that are still what they were, without the header."""
    known = {line.encode() for line in good.splitlines()[1:]}
    return lambda content, read, listed: sum(line in known for line in content.split(b"\n")[1:])


def unpacked(count: RowsFn) -> RowsFn:
    """Count in what a .gz holds; in a damaged one there is at least one row."""

    def whole(content: bytes, read: Sequence[str], listed: str) -> int:
        try:
            return count(gzip.decompress(content), read, listed)
        except (OSError, EOFError, zlib.error, struct.error):
            return 1

    return whole


def columnar(*, held: bool) -> tuple[bytes, bytes]:
    """Return a data set as Parquet and as Arrow's stream; with bytes of a sound, or its path."""
    sound = {"bytes": wav(0.25), "path": "x.wav"} if held else {"bytes": None, "path": "a.wav"}
    rows = [{"audio": sound, "sentence": text, "client_id": "Eva"} for text in SENTENCES]
    table = pyarrow.Table.from_pylist(rows)
    parquet, stream = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(table, parquet, compression="none", use_dictionary=False)
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return parquet.getvalue(), stream.getvalue()


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
GRID_ROWS = texts("řekl ", "! <exists> 7", inside=True, binary=True)
JSON_ROWS = texts(*SENTENCES, spelled=lambda text: json.dumps(text)[1:-1])
KALDI = {"wav.scp": "r a.wav\np cat x |\n", "text": "u1 Ano\nu2 Ne\n"}
YAML = "- {duration: 1.5, offset: 0.5, speaker_id: spk.1, wav: a.wav}\n" * 3

FORMATS = {
    "elan": Format(
        "elan", [EAF.encode()], texts(*EAF_TEXTS, spelled=lambda text: f">{escape(text)}<"), ".eaf",
        {"tiers": ["věta", "slovo", "glosa"]}, whole=True,
    ),
    "praat-long": Format("praat", both(textgrid(short=False)), GRID_ROWS, ".TextGrid", whole=True),
    "praat-short": Format("praat", both(textgrid(short=True)), GRID_ROWS, ".TextGrid", whole=True),
    "praat-binary": Format("praat", [binary_textgrid()], GRID_ROWS, ".TextGrid", whole=True),
    "srt": Format(
        "subtitles", both(SRT), texts("Dobrý", "Jak se", "Děkuji", inside=True), ".srt", whole=True
    ),
    "vtt": Format(
        "subtitles", [VTT.encode()],
        texts("Dobrý", "Jak se", inside=True, comments=VTT_COMMENTS), ".vtt", whole=True,
    ),
    "audacity": Format("subtitles", [LABELS.encode()], lines(but="\\"), ".txt", whole=True),
    "labelstudio": Format(
        "labelstudio", [label_studio(minimal=False).encode()], JSON_ROWS, ".json", whole=True
    ),
    "labelstudio-min": Format(
        "labelstudio", [label_studio(minimal=True).encode()], JSON_ROWS, ".json", whole=True
    ),
    "folder": Format(
        "folder", both(SENTENCES[0]), exactly(2), name="a.txt",
        beside={"a.wav": "", "b.wav": "", "b.txt": "Ano"},
    ),
    "table": Format("table", [TABLE.encode()], intact(TABLE), ".csv"),
    "table-tsv": Format("table", [TABLE_TSV.encode()], lines(skip=1), ".tsv"),
    "common_voice": Format(
        "common_voice", [CV.encode()], lines(skip=1), name="train.tsv", beside={"clips/a.wav": ""}
    ),
    "nemo": Format("nemo", [NEMO.encode()], lines(), ".json"),
    "kaldi-segments": Format(
        "kaldi", [b"u1 r 0.5 1.25\nu2 r 2 -1\nu3 p 0 1\n"], lines(), name="segments",
        beside=KALDI,
    ),
    "kaldi-wav.scp": Format(
        "kaldi", [b"u1 a.wav\nu2 cat x |\n"], lines(), name="wav.scp",
        beside={"text": "u1 A\nu2 B\n"},
    ),
    "kaldi-text": Format(
        "kaldi", ["u1 Dobrý den.\nu2 Ano.\n".encode()], lines(), name="text",
        beside={"wav.scp": "u1 a.wav\nu2 b.wav\n", "b.wav": ""},
    ),
    "kaldi-utt2spk": Format(
        "kaldi", [b"u1 Eva\nu2 Jan\n"], exactly(2), name="utt2spk",
        beside={"wav.scp": "u1 a.wav\nu2 b.wav\n", "text": "u1 Ano\nu2 Ne\n", "b.wav": ""},
    ),
    "lhotse-cuts": Format("lhotse", [f"{CUT}\n{CUT}\n".encode()], lines(), ".cuts.jsonl"),
    "lhotse-cuts-gz": Format(
        "lhotse", [gzip.compress(f"{CUT}\n".encode())], unpacked(lines()), ".cuts.jsonl.gz"
    ),
    "lhotse-pair": Format(
        "lhotse", [f"{SUPERVISION}\n{SUPERVISION}\n".encode()], lines(),
        name="supervisions.jsonl", beside={"recordings.jsonl": f"{RECORDING}\n"},
    ),
    "jsut": Format(
        "jsut", ["a:水を飲む。\nb:ない\n".encode()], lines(), name="transcript_utf8.txt",
        beside={"b.wav": ""},
    ),
    "librispeech": Format(
        "librispeech", [b"a DOBRY DEN\nb ANO\n"], lines(), name="1-2.trans.txt",
        beside={"b.wav": ""},
    ),
    "mls": Format(
        "mls", ["7_3_1\tpo česku\n7_3_2\tano\n".encode()], lines(),
        name="train/transcripts.txt",
        beside={f"train/audio/7/3/7_3_{n}.wav": "" for n in (1, 2)},
    ),
    "fleurs": Format(
        "fleurs", ["5\ta.wav\tVěta.\tvěta\tv ě\t800\tMALE\n".encode() * 2], lines(),
        name="train.tsv", beside={"audio/a.wav": ""},
    ),
    "reazonspeech": Format(
        "reazonspeech", ["a.wav\t今日は\nb.wav\tえ\n".encode()], lines(), ".tsv",
        beside={"b.wav": ""},
    ),
    "mustc-yaml": Format(
        "mustc", [YAML.encode()], lines(), name="d/dev/txt/dev.yaml",
        beside={"d/dev/wav/a.wav": "", "d/dev/txt/dev.cs": "A\nB\nC\n"},
    ),
    "mustc-text": Format(
        "mustc", ["Dobrý den.\nAno\nNe.\n".encode()], lines(), name="d/dev/txt/dev.cs",
        beside={"d/dev/wav/a.wav": "", "d/dev/txt/dev.yaml": YAML},
    ),
    "audiofolder": Format(
        "huggingface", [NEMO.replace("audio_filepath", "file_name").encode()], lines(),
        name="metadata.jsonl",
    ),
    "audiofolder-csv": Format(
        "huggingface", [TABLE.replace("audio", "file_name").encode()],
        intact(TABLE), name="metadata.csv",
    ),
    "parquet": Format(
        "huggingface", [columnar(held=h)[0] for h in (True, False)], texts(*SENTENCES), ".parquet",
        whole=True,
    ),
    "arrow": Format(
        "huggingface", [columnar(held=h)[1] for h in (True, False)], texts(*SENTENCES), ".arrow",
        whole=True,
    ),
}  # fmt: skip
