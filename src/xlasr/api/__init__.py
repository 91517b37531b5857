"""The verbs as functions with typed results: adapt, evaluate, transcribe, align, label, export.

The command line calls these and nothing else; they load torch, so ``import xlasr`` does not
import this package until a verb is used.
"""

from xlasr.api.adapting import adapt
from xlasr.api.evaluating import evaluate, int8_cost
from xlasr.api.exporting import align, export
from xlasr.api.labelling import Labelled, label
from xlasr.api.opened import Run, open_run

__all__ = [
    "Labelled",
    "Run",
    "adapt",
    "align",
    "evaluate",
    "export",
    "int8_cost",
    "label",
    "open_run",
]
