"""The doctor: what is wrong with a corpus, before hours of training find it out.

========== =======================================================================
doctor     ``check(corpus)``: every check, in one ``Diagnosis``; ``Diagnosis.repair``
findings   ``Finding``: how bad, what, which records, what to do
thresholds every limit, and why it is what it is
material   what a check is given: the corpus, the sound as measured, the base
sound      one pass over the audio: a few numbers for each clip
fit        a base without its weights: frames, pieces, letters of a head
scripts    writing systems, look-alike and invisible letters
text       checks of transcripts, one by one
writing    checks of the orthography of the whole: letters, figures, abbreviations
language   is the text in the language of the tag?
audio      checks of the sound
length     too long, too short, too fast, too slow
splits     what stands on both sides; sides that are missing or small
base       what the base can hold: letters, frames, pieces
repair     the safe repairs, as a new corpus and a list of changes
suspects   transcripts that do not fit the sound, by a trained run
pivots     which language to train on for one without transcribed speech
========== =======================================================================

A check is a function from ``Material`` to findings and stands in its file's ``CHECKS``.
"""

from __future__ import annotations

from xlasr.diagnosis.doctor import check
from xlasr.diagnosis.findings import Diagnosis, Finding, Record
from xlasr.diagnosis.thresholds import Thresholds

__all__ = ["Diagnosis", "Finding", "Record", "Thresholds", "check"]
