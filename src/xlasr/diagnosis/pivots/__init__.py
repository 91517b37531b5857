"""Which language to train on for a target that has no transcribed speech of its own.

=========== ======================================================================
evidence    ``pivots(target, corpora)``: every measure of every candidate
ranking     ``PivotRanking``: the measures, and one rank from all of them
phones      inventories by espeak-ng: what is shared, and how far the rest is
family      language tags and names; Glottolog's family tree
speech      spectra, rhythm and melody of recordings, with their noise floors
=========== ======================================================================
"""

from __future__ import annotations

from xlasr.diagnosis.pivots.evidence import pivots
from xlasr.diagnosis.pivots.ranking import Candidate, Evidence, Measure, PivotRanking

__all__ = ["Candidate", "Evidence", "Measure", "PivotRanking", "pivots"]
