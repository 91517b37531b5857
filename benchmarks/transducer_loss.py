"""Time and memory of the transducer loss, joiner included, beside its peers, in one run.

    OMP_NUM_THREADS=1 python benchmarks/transducer_loss.py [--classes 500 5001] [--device cuda]

A ragged batch of clips, from projected encoder and predictor states to the gradients of both and of
the joiner. Each way runs in a process of its own: seconds are the median of the repeats (of CPU
time; on a GPU of time), memory is the largest resident set of the process minus what it had before
the batch (on a GPU, what PyTorch has taken beyond the batch). Peers: the recursion written in plain
PyTorch and differentiated by autograd, and ``warprnnt_numba`` and torchaudio's loss where they are
installed and load (compiled before the clock starts). ``pruned`` includes the simple joiner's loss.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from xlasr.objectives.transducer import (
    in_windows,
    joined_loss,
    simple_loss,
    transducer_loss,
    window_starts,
)

WAYS = ("exact", "fused", "pruned", "peer-torch", "peer-warprnnt_numba", "peer-torchaudio")


def batch(args: argparse.Namespace, n_classes: int) -> tuple[list[Tensor], list[Tensor]]:
    """Leaves (encoder, predictor, weight, bias, simple am, simple lm), and targets with lengths."""
    g = torch.Generator().manual_seed(0)
    n, t, u, width = args.clips, args.frames, args.symbols, args.width
    shapes = [(n, t, width), (n, u + 1, width), (n_classes, width), (n_classes,)]
    shapes += [(n, t, n_classes), (n, u + 1, n_classes)]
    leaves = [torch.randn(*s, generator=g).mul_(0.1 if len(s) == 2 else 1.0) for s in shapes]
    shares = torch.linspace(1.0, 0.6, n)
    lens = [torch.randint(1, n_classes, (n, u), generator=g)]
    lens += [(shares * size).round().long() for size in (t, u)]
    device = torch.device(args.device)
    return [x.to(device).requires_grad_() for x in leaves], [x.to(device) for x in lens]


def logits_of(leaves: list[Tensor]) -> Tensor:
    joined = (leaves[0][:, :, None] + leaves[1][:, None]).tanh()
    return torch.nn.functional.linear(joined, leaves[2], leaves[3])


def plain_torch(logits: Tensor, targets: Tensor, frames: Tensor, symbols: Tensor) -> Tensor:
    """The recursion as the paper has it, row by row, for autograd."""
    log_probs = logits.log_softmax(-1)
    blank = log_probs[..., 0]
    wanted = targets[:, None, :, None].expand(-1, logits.shape[1], -1, -1)
    emit = log_probs[:, :, :-1].gather(3, wanted)[..., 0]
    alpha: list[Tensor] = []
    for t in range(logits.shape[1]):
        row = [alpha[t - 1][:, 0] + blank[:, t - 1, 0] if t else blank.new_zeros(len(targets))]
        for u in range(1, logits.shape[2]):
            written = row[u - 1] + emit[:, t, u - 1]
            above = alpha[t - 1][:, u] + blank[:, t - 1, u] if t else None
            row.append(written if above is None else torch.logaddexp(above, written))
        alpha.append(torch.stack(row, 1))
    clips = torch.arange(len(targets), device=targets.device)
    end = torch.stack(alpha, 1)[clips, frames - 1, symbols]
    return -(end + blank[clips, frames - 1, symbols])


def loss_of(way: str, leaves: list[Tensor], lens: list[Tensor], width: int) -> Tensor:
    if way == "exact":
        return transducer_loss(logits_of(leaves), *lens, reuse_logits=True).sum()
    if way == "fused":
        return joined_loss(*leaves[:4], *lens).sum()
    if way == "pruned":
        simple, arcs = simple_loss(leaves[4], leaves[5], *lens, lm_scale=0.25)
        starts = window_starts(arcs, *lens[1:], width=width)
        nodes = in_windows(starts, width, leaves[1].shape[1])
        return 0.5 * simple.sum() + joined_loss(*leaves[:4], *lens, nodes=nodes).sum()
    if way == "peer-torch":
        return plain_torch(logits_of(leaves), *lens).sum()
    given = (logits_of(leaves), *(x.to(torch.int32) for x in lens))
    loss: Tensor
    if way == "peer-torchaudio":
        from torchaudio.functional import rnnt_loss

        loss = rnnt_loss(*given, blank=0, reduction="sum")
        return loss
    from warprnnt_numba import RNNTLossNumba

    loss = RNNTLossNumba(blank=0, reduction="sum")(*given)
    return loss


def peak_mb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clock(device: str) -> float:
    """Seconds: of the process on a CPU, of the wall once a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(way: str, n_classes: int, args: argparse.Namespace) -> dict[str, Any]:
    """In this process; a tiny batch first: what is loaded or compiled once is not counted."""
    small = argparse.Namespace(**{**vars(args), "frames": 8, "symbols": 4, "width": 8})
    leaves, lens = batch(small, 20)
    loss_of(way, leaves, lens, args.range).backward()
    leaves, lens = batch(args, n_classes)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # to what the batch holds
    before, seconds, value = peak_mb(args.device), [], 0.0
    for _ in range(args.repeats):
        for leaf in leaves:
            leaf.grad = None
        begun = clock(args.device)
        loss = loss_of(way, leaves, lens, args.range)
        loss.backward()
        seconds.append(clock(args.device) - begun)
        value = loss.item()
    weight = leaves[2].grad
    norm = 0.0 if weight is None else float(weight.norm())
    return {"s": median(seconds), "mb": peak_mb(args.device) - before, "loss": value, "norm": norm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[500, 5001])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--symbols", type=int, default=30)
    parser.add_argument("--width", type=int, default=512, help="of the joiner")
    parser.add_argument("--range", type=int, default=5, help="rows of the pruned window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--way", choices=WAYS, help="only this one, as JSON, in this process")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.classes[0], args)))
        return
    threads = torch.get_num_threads()
    print(
        f"{args.clips} clips, T {args.frames}, U {args.symbols}, joiner {args.width}, range "
        f"{args.range}, float32, {args.device}, {threads} threads, median of {args.repeats}"
    )
    for n_classes in args.classes:
        found: dict[str, dict[str, Any]] = {}
        for way in WAYS:
            command = [sys.executable, str(Path(__file__)), "--way", way]
            for name in ("clips", "frames", "symbols", "width", "range", "repeats", "device"):
                command += [f"--{name}", str(getattr(args, name))]
            done = subprocess.run(
                [*command, "--classes", str(n_classes)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"left out {way}: {done.stderr.strip().splitlines()[-1]}")
                continue
            found[way] = json.loads(done.stdout)
        peers = [found[way] for way in found if way.startswith("peer")]
        fastest = min(p["s"] for p in peers)
        leanest = min(p["mb"] for p in peers)
        print(f"\nV = {n_classes}\n\n| way | CPU-s | MB | time : best peer | memory : best peer |")
        print("|---|---|---|---|---|")
        for way, row in found.items():
            print(
                f"| {way} | {row['s']:.2f} | {row['mb']:.0f} | {row['s'] / fastest:.2f} | "
                f"{row['mb'] / leanest:.2f} |"
            )
        exact = [row for way, row in found.items() if way != "pruned"]
        for row in exact:
            assert abs(row["loss"] - exact[0]["loss"]) < 1e-3 * exact[0]["loss"], found
            assert abs(row["norm"] - exact[0]["norm"]) < 1e-3 * exact[0]["norm"], found


if __name__ == "__main__":
    main()
