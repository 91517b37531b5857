"""Which pictures belong to this sound? Retrieval among held-out clips of equal length.

    python benchmarks/retrieval.py MODEL CORPUS [--gallery 200] [--seconds 2]

MODEL is the folder of a stage with the objective contrastive (RUN/stages/0-clips/model), CORPUS one
of clips with pictures. The first seconds of held-out clips that have so many (test, then dev) are
compared in the common space, in windows as long as the stage's, each sound with all pictures of the
gallery and the other way round. Printed: the share whose own partner comes first (recall at 1) and
among the first ten, with 95 % intervals (Wilson), beside what guessing gives. Equal lengths, or the
length alone would tell.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xlasr.config import AugmentSettings, PairSettings, load_recipe
from xlasr.data.corpus import Corpus
from xlasr.models.conformer import ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.run import load_model
from xlasr.objectives.contrastive import cut_to_shortest, pooled, standardised, what_moves
from xlasr.training.clips import ClipSet

BATCH = 20


@dataclass(frozen=True)
class Recall:
    """A share of the gallery.

    Args:
        hits: Clips whose partner was found.
        n: Of so many.
    """

    hits: int
    n: int

    def __str__(self) -> str:
        """Per cent with Wilson's 95 % interval (1927, equation 1)."""
        z, share = 1.96, self.hits / self.n
        middle = share + z * z / (2 * self.n)
        half = z * math.sqrt(share * (1 - share) / self.n + (z / (2 * self.n)) ** 2)
        low, high = ((middle + sign * half) / (1 + z * z / self.n) for sign in (-1, 1))
        return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def recalls(sound: Tensor, video: Tensor, first: int) -> Recall:
    """Rows of ``sound`` (N, J) whose own row of ``video`` is among the ``first`` most similar.

    A draw with a stranger is no hit, or a model that maps everything to one point would be perfect.
    """
    one, other = (torch.nn.functional.normalize(x, dim=-1) for x in (sound, video))
    similar = one @ other.T
    if not bool(similar.isfinite().all()):
        raise SystemExit("similarities are not finite: this model has diverged")
    rank = (similar >= similar.diagonal()[:, None]).sum(1) - 1
    return Recall(int((rank < first).sum()), len(rank))


@torch.inference_mode()
def gallery(
    model: CTCModel, corpus: Corpus, size: int, seconds: float, window_s: float | None
) -> tuple[Tensor, Tensor]:
    """Sound and pictures of held-out clips in their common space, (N, W * J) each."""
    encoder = model.encoder
    if not isinstance(encoder, ConformerEncoder):
        raise SystemExit("this model has no encoder of clips; give the folder of a stage on clips")
    shape = encoder.hf.config
    found = []
    for name in ("test", "dev"):
        split = corpus.split(name)
        both_s = [min(u.duration_s, u.video.seconds if u.video else 0.0) for u in split]
        rows = np.flatnonzero(np.asarray(both_s) >= seconds)
        clips = ClipSet(split, rows, "", {}, seconds=seconds, shape=shape)
        found += [(clips, at) for at in range(len(rows))]
    if len(found) < size:
        raise SystemExit(f"{len(found)} held-out clips have {seconds:g} s; a gallery needs {size}")
    sound, video = [], []
    found = found[:size]
    for begin in range(0, size, BATCH):
        part = found[begin : begin + BATCH]
        rngs = [np.random.default_rng(0) for _ in part]
        plain = AugmentSettings()
        items = [one.item(at, 1.0, plain, rng) for (one, at), rng in zip(part, rngs, strict=True)]
        batch = cut_to_shortest(part[0][0].features(model, items, 0, plain, rngs))
        for states, side in zip(pooled(model, batch, window_s), (sound, video), strict=True):
            side.append(states.unflatten(0, (len(part), -1)))
    return comparable(torch.cat(sound)), comparable(torch.cat(video))


def comparable(windows: Tensor) -> Tensor:
    """Projections (N, W, J) -> (N, W * J), whose cosines are the means of those of the windows.

    What stands still is taken away over the gallery, as in training over the batch: each side sees
    the means and variances of all its own clips, and nothing of the other side.
    """
    rows = torch.nn.functional.normalize(standardised(what_moves(windows)), dim=-1)
    return rows.reshape(len(windows), -1)


def window_of(model: Path) -> float | None:
    """Seconds of the windows that a stage told apart, by the recipe of its run.

    Args:
        model: RUN/stages/N-NAME/model.
    """
    stage = model.resolve().parent
    recipe = load_recipe(str(stage.parents[1] / "recipe.yaml"))
    (found,) = (s for s in recipe.stages if s.name == stage.name.partition("-")[2])
    (objective,) = (o for o in found.objectives if o.kind == "contrastive")
    return (objective.pairs or PairSettings()).window_s


def main() -> None:
    """Print the recalls of a model on a corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--gallery", type=int, default=200, help="clips")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each clip")
    given = parser.parse_args()
    model = load_model(given.model)
    if "contrastive" not in getattr(model, "aids", {}):
        raise SystemExit(f"{given.model} has no common space of sound and pictures")
    corpus, window_s = Corpus.open(given.corpus), window_of(given.model)
    sound, video = gallery(model.eval(), corpus, given.gallery, given.seconds, window_s)
    row = {"model": str(given.model), "clips": len(sound), "seconds": given.seconds}
    for first in (1, 10):
        row[f"recall@{first} sound to video"] = str(recalls(sound, video, first))
        row[f"recall@{first} video to sound"] = str(recalls(video, sound, first))
        row[f"recall@{first} by guessing"] = f"{100 * first / len(sound):.1f}"
    print(json.dumps(row))


if __name__ == "__main__":
    main()
