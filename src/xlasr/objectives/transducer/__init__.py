"""The transducer loss, in four ways that share one lattice.

Reading order: ``lattice.py`` (paths, forward and backward), ``exact.py`` (from logits),
``fused.py`` (joiner and loss in one, on any cells of the lattice), ``pruned.py`` and
``restricted.py`` (which cells those are).
"""

from xlasr.objectives.transducer.exact import transducer_loss
from xlasr.objectives.transducer.fused import joined_loss
from xlasr.objectives.transducer.pruned import (
    in_windows,
    simple_loss,
    symbols_a_frame,
    window_starts,
)
from xlasr.objectives.transducer.restricted import alignment_windows

__all__ = [
    "alignment_windows",
    "in_windows",
    "joined_loss",
    "simple_loss",
    "symbols_a_frame",
    "transducer_loss",
    "window_starts",
]
