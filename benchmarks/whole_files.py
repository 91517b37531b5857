"""The whole files that ``mutated_inputs`` damages: one or two small ones of every format."""

from __future__ import annotations

import io
import json
import struct

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


def wav(seconds: float) -> bytes:
    """Return a sound: noise at 16 kHz."""
    noise = np.random.default_rng(0).integers(-9000, 9000, round(16_000 * seconds), np.int16)
    held = io.BytesIO()
    soundfile.write(held, noise, 16_000, format="WAV")
    return held.getvalue()


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
KALDI = {"wav.scp": "r a.wav\np cat x |\n", "text": "u1 Ano\nu2 Ne\n"}
YAML = "- {duration: 1.5, offset: 0.5, speaker_id: spk.1, wav: a.wav}\n" * 3
