"""One file per layout of recordings and transcripts.

============ ======================================================================
folder       a folder of audio with same-stem ``.txt``
table        CSV or TSV with one row per utterance
elan         ELAN's ``.eaf``: tiers that annotate long recordings
praat        Praat's ``.TextGrid``, long, short and binary
subtitles    SRT, WebVTT and Audacity's label tracks
labelstudio  exports of Label Studio (JSON, JSON-MIN)
common_voice a release of Common Voice
librispeech  LibriSpeech: ``*.trans.txt``
mls          Multilingual LibriSpeech: ``transcripts.txt``
fleurs       FLEURS: tables without header
jsut         JSUT and JVS: ``transcript_utf8.txt``
reazonspeech ReazonSpeech: a table of paths and texts
mustc        MuST-C and mTEDx: YAML and text, line by line
nemo         manifests of NeMo (JSONL)
kaldi        Kaldi data directories
lhotse       manifests of lhotse, Shar folders
huggingface  ``datasets`` saved to disk, Parquet, AudioFolder, or an id of the hub
recordings   sound without any transcript, long ones cut where nobody speaks (never guessed)
lrs3         LRS3: talking faces with transcripts; and faces that ``render_faces`` drew
voxceleb2    VoxCeleb2: talking faces, no transcripts
kinetics     Kinetics-600: clips of things that people do, no transcripts
fillets      the game Fish Fillets, unpacked (sources ``fillets-cs``, ``fillets-nl``)
asterisk     prompts of Asterisk, unpacked (sources ``asterisk-en``, ``-es``, ``-fr``, ``-it``)
spoken-text  a text file, read out by espeak-ng (synthetic; training only)
fortunes     quotations of ``fortunes-*``, read out by espeak-ng (source ``synthetic-cs``)
============ ======================================================================

A new layout is one new file here: a function ``read(path, options, quarantine)`` that yields
``RawRecord`` and reports what it cannot use, one line in ``READERS`` and, where its files can be
told from others, one in ``guess_reader``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from xlasr.data.readers import (
    asterisk,
    common_voice,
    elan,
    fillets,
    fleurs,
    folder,
    huggingface,
    jsut,
    kaldi,
    kinetics,
    labelstudio,
    lhotse,
    librispeech,
    lrs3,
    mls,
    mustc,
    nemo,
    praat,
    reazonspeech,
    recordings,
    spoken_text,
    subtitles,
    table,
    voxceleb2,
)
from xlasr.data.readers.base import RawRecord, ReaderFn, ReadOptions, Source
from xlasr.errors import DataError
from xlasr.registry import Registry

READERS: Registry[ReaderFn] = Registry("reader")
READERS.register("folder")(folder.read)
READERS.register("table")(table.read)
READERS.register("elan")(elan.read)
READERS.register("praat")(praat.read)
READERS.register("subtitles")(subtitles.read)
READERS.register("labelstudio")(labelstudio.read)
READERS.register("common_voice")(common_voice.read)
READERS.register("librispeech")(librispeech.read)
READERS.register("mls")(mls.read)
READERS.register("fleurs")(fleurs.read)
READERS.register("jsut")(jsut.read)
READERS.register("reazonspeech")(reazonspeech.read)
READERS.register("mustc")(mustc.read)
READERS.register("nemo")(nemo.read)
READERS.register("kaldi")(kaldi.read)
READERS.register("lhotse")(lhotse.read)
READERS.register("huggingface")(huggingface.read)
READERS.register("recordings")(recordings.read)
READERS.register("lrs3")(lrs3.read)
READERS.register("voxceleb2")(voxceleb2.read)
READERS.register("kinetics")(kinetics.read)
READERS.register("fillets")(fillets.read)
READERS.register("asterisk")(asterisk.read)
READERS.register("spoken-text")(spoken_text.read_sentences)
READERS.register("fortunes")(spoken_text.read_fortunes)

ANNOTATED = ("elan", "praat", "subtitles", "labelstudio")
"""Layouts whose annotations cut long recordings."""
UNTRANSCRIBED = ("recordings", "voxceleb2", "kinetics")
"""Layouts without text."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tiers": ("elan", "praat", "labelstudio"),
    "tier_type": ("elan",),
    "tier_index": ("elan", "praat"),
    "participant": ("elan",),
    "channels": ("elan", "praat", "subtitles"),
    "media": (*ANNOTATED, "nemo", "kaldi", "lhotse", "huggingface"),
}
"""Option -> the layouts that it is for."""
_LAYOUTS = {
    "elan": elan.SUFFIXES,
    "praat": praat.SUFFIXES,
    "subtitles": subtitles.SUFFIXES - {".txt"},
}

SOURCES: Registry[Source] = Registry("source")
for _name, _source in {**fillets.SOURCES, **asterisk.SOURCES, **spoken_text.SOURCES}.items():
    SOURCES.register(_name)(_source)


def guess_reader(path: Path) -> str:
    """Return the name of the reader whose layout ``path`` has.

    Raises:
        DataError: It looks like none of them.
    """
    if path.is_file():
        return _guess_file(path)
    if (path / fillets.GAME / "sound").is_dir():
        return "fillets"
    if (path / asterisk.SOUNDS).is_dir():
        return "asterisk"
    files = list(folder.walk(path))
    if known := _guess_corpus(path, files):
        return known
    counts = Counter(file.suffix.lower() for file in files)
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    labels = bool(texts) and all(map(subtitles.is_labels, texts[:20]))
    kinds = {
        name: ", ".join(f"{counts[suffix]} {suffix}" for suffix in sorted(suffixes & counts.keys()))
        for name, suffixes in _LAYOUTS.items()
        if suffixes & counts.keys()
    }
    spoken = {f.with_suffix("") for f in files if f.suffix.lower() in folder.AUDIO_SUFFIXES}
    if kinds and not labels and any(text.with_suffix("") in spoken for text in texts):
        kinds["folder"] = f"{len(texts)} .txt"
    if len(kinds) > 1:
        raise DataError(
            f"{path}: transcripts of several kinds: {'; '.join(kinds.values())}. Say which to read:"
            f" {' or '.join(f'--reader {name}' for name in kinds)}."
        )
    if kinds:
        return next(iter(kinds))
    if any(path.glob("*.[ct]sv")) and not texts:
        return "table"
    if labels:
        return "subtitles"
    exports = [] if texts else sorted(path.glob("*.json"))
    return "labelstudio" if any(map(labelstudio.is_export, exports)) else "folder"


def _guess_corpus(path: Path, files: list[Path]) -> str | None:
    """Return the layout that names or heads of files make certain; None if none does."""
    names = {file.name for file in files}
    if common_voice.release(path) is not None:
        return "common_voice"
    if mls.parts(path):
        return "mls"
    if fleurs.tables(path):
        return "fleurs"
    if lrs3.is_root(files):
        return "lrs3"
    if voxceleb2.is_root(files):
        return "voxceleb2"
    if kinetics.is_root(files):
        return "kinetics"
    if any(name.endswith(librispeech.SUFFIX) for name in names):
        return "librispeech"
    if not names.isdisjoint(jsut.NAMES):
        return "jsut"
    if mustc.parts(files):
        return "mustc"
    if "wav.scp" in names and kaldi.data_dirs(path):
        return "kaldi"
    if huggingface.is_saved(path) or huggingface.is_audio_folder(path):
        return "huggingface"
    lines = [f for f in files if f.name.lower().endswith((*nemo.SUFFIXES, *lhotse.SUFFIXES))]
    if any(map(nemo.is_manifest, lines)):
        return "nemo"
    if any(map(lhotse.is_manifest, lines)):
        return "lhotse"
    if any(reazonspeech.is_table(table) for table in path.glob("*.tsv")):
        return "reazonspeech"
    return None


def _guess_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in huggingface.SUFFIXES or path.name == "metadata.jsonl":
        return "huggingface"
    if suffix in nemo.SUFFIXES and nemo.is_manifest(path):
        return "nemo"
    if lhotse.is_manifest(path):
        return "lhotse"
    if common_voice.is_table(path):
        return "common_voice"
    if suffix == ".tsv" and reazonspeech.is_table(path):
        return "reazonspeech"
    for name, suffixes in _LAYOUTS.items():
        if suffix in suffixes:
            return name
    if suffix in labelstudio.SUFFIXES:
        return "labelstudio"
    if suffix == ".txt" and subtitles.is_labels(path):
        return "subtitles"
    if suffix in {".csv", ".tsv", ".tab", ".txt"}:
        return "table"
    known = " ".join(sorted(s for suffixes in _LAYOUTS.values() for s in suffixes))
    raise DataError(
        f"{path}: not a table (.csv, .tsv), not a transcript ({known} .json) and not a folder."
        " Give one of these."
    )


__all__ = [
    "ANNOTATED",
    "OPTIONS",
    "READERS",
    "SOURCES",
    "UNTRANSCRIBED",
    "RawRecord",
    "ReadOptions",
    "ReaderFn",
    "Source",
    "guess_reader",
]
