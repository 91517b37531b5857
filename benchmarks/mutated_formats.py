"""What ``mutated_inputs`` damages, and the rows that a damaged file accounts for.

What must come out of a damaged file, as a row or in a list, can be counted in the damaged file
itself: where rows are lines, they are its lines; else they are the texts of the whole file that it
still has, once for each time.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.whole_files import (
    CUT,
    CV,
    EAF,
    EAF_TEXTS,
    KALDI,
    LABELS,
    NEMO,
    RECORDING,
    SENTENCES,
    SRT,
    SUPERVISION,
    TABLE,
    TABLE_TSV,
    VTT,
    VTT_COMMENTS,
    YAML,
    binary_textgrid,
    columnar,
    label_studio,
    textgrid,
)

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


GRID_ROWS = texts("řekl ", "! <exists> 7", inside=True, binary=True)
JSON_ROWS = texts(*SENTENCES, spelled=lambda text: json.dumps(text)[1:-1])

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
