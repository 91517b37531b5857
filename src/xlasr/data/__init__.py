"""Recordings and transcripts in, a corpus out.

========== =======================================================================
prepare    ``prepare(source, out)``: the whole way, in pipeline order below
preview    ``preview(source)``: the same, counted and not written
intake     what a source is; its records, tidied
readers/   one file per layout; ``debian`` fetches; ``segments``, ``tiers`` and ``media`` are for
           transcripts that cut long recordings
quarantine records that cannot be used, with a reason
audio      decode any file to float32 mono 16 kHz, bounded; ``containers`` opens it,
           ``headers`` says whether it is audio, and whole
voice      where somebody speaks: long recordings are cut in the pauses
clips      decode each record once, write the 16 kHz copies
text       normalisers, alphabets, language tags; ``language``: which one a text is in
parallel   text without sound: pairs of sentences, and which of them are fit to learn from
splits     the side of a group, by a hash that is the same in every language
annotations/  writers of timed texts, one file per format: for every command that writes them
arrange    groups, sides, no text of dev or test that training has
writing    temporary folder, fsync, rename
corpus     ``Corpus``, ``Split``, ``Utterance``: the manifests on disk, read lazily
card       what a corpus says about itself
show       progress bar and summary
cache      where fetched things are kept
========== =======================================================================
"""

from __future__ import annotations

from xlasr.data.audio import SAMPLE_RATE
from xlasr.data.cache import cache_dir
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Split, Utterance
from xlasr.data.prepare import prepare
from xlasr.data.preview import Preview, preview
from xlasr.data.writing import write_corpus

__all__ = [
    "SAMPLE_RATE",
    "Card",
    "Corpus",
    "Preview",
    "Split",
    "Utterance",
    "cache_dir",
    "prepare",
    "preview",
    "write_corpus",
]
