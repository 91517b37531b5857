"""What a frozen encoder's layers know: small probes in the manner of SUPERB (arXiv 2105.01051).

=========== ======================================================================
tasks       ``keywords``, ``intents``, ``phones``, ``speakers``: a corpus as labelled clips; what
            each measures and does not
states      the frozen encoder and its layers' states, computed once
heads       the weighted sum over layers, the linear layer behind it, and their training
probing     ``probe(base, corpora, task)``: all of it, as a ``ProbeResult``
=========== ======================================================================
"""

from __future__ import annotations

from xlasr.diagnosis.probes.heads import ProbeSettings
from xlasr.diagnosis.probes.probing import ProbeResult, Row, probe
from xlasr.diagnosis.probes.tasks import TASKS

__all__ = ["TASKS", "ProbeResult", "ProbeSettings", "Row", "probe"]
