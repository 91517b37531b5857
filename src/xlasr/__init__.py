"""xlasr: from a folder of recordings to a measured, served recogniser.

The packages are the pipeline, in order; each imports only those to its left::

    data -> scoring -> features -> models -> adaptation -> decoding -> alignment -> objectives
         -> training -> diagnosis -> reporting -> exporters -> serving

A transfer method is data: a recipe (``config.Recipe``) is a list of stages, and one engine
(``training.engine``) runs them. The verbs are functions::

    corpus = xlasr.prepare("fillets-cs", "corpora/cs")
    run = xlasr.adapt(corpus.path, base="whisper-tiny.en", recipe="ctc", out="runs/cs")
    print(run.evaluate(split="test").adapted.cer)
    for segment in run.transcribe("interview.m4a"):
        print(segment.start_s, segment.text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlasr.api import Run, adapt, align, evaluate, export, label, open_run
    from xlasr.api.planning import Plan, plan
    from xlasr.config import Recipe, load_recipe, recipes
    from xlasr.data import Corpus, prepare
    from xlasr.data.faces import render_faces
    from xlasr.diagnosis import Diagnosis, check
    from xlasr.diagnosis.pivots import PivotRanking, pivots
    from xlasr.diagnosis.probes import ProbeResult, probe
    from xlasr.errors import XlasrError
    from xlasr.exporters.corpus import export_corpus
    from xlasr.models.catalogue import bases
    from xlasr.reporting.compare import compare
    from xlasr.scoring.scorecard import score_files as score

__all__ = [
    "Corpus",
    "Diagnosis",
    "PivotRanking",
    "Plan",
    "ProbeResult",
    "Recipe",
    "Run",
    "XlasrError",
    "adapt",
    "align",
    "bases",
    "check",
    "compare",
    "evaluate",
    "export",
    "export_corpus",
    "label",
    "load_recipe",
    "open_run",
    "pivots",
    "plan",
    "prepare",
    "probe",
    "recipes",
    "render_faces",
    "score",
]

_HOME = {
    "Corpus": "xlasr.data",
    "prepare": "xlasr.data",
    "Diagnosis": "xlasr.diagnosis",
    "render_faces": "xlasr.data.faces",
    "check": "xlasr.diagnosis",
    "PivotRanking": "xlasr.diagnosis.pivots",
    "pivots": "xlasr.diagnosis.pivots",
    "ProbeResult": "xlasr.diagnosis.probes",
    "probe": "xlasr.diagnosis.probes",
    "compare": "xlasr.reporting.compare",
    "Plan": "xlasr.api.planning",
    "plan": "xlasr.api.planning",
    "Recipe": "xlasr.config",
    "load_recipe": "xlasr.config",
    "recipes": "xlasr.config",
    "XlasrError": "xlasr.errors",
    "export_corpus": "xlasr.exporters.corpus",
    "bases": "xlasr.models.catalogue",
    "score": "xlasr.scoring.scorecard",
}
_NAME = {"score": "score_files"}  # `score` is what compares texts; the verb compares files


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: ``import xlasr`` itself loads nothing heavy."""
    if name not in __all__:
        raise AttributeError(f"module 'xlasr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME.get(name, "xlasr.api")), _NAME.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
