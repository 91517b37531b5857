"""Where the memory of short-context Whisper training goes: one change at a time, same batches.

    python benchmarks/profiles.py CORPUS --updates 12

Each variant trains in a process of its own on the same batches of many different shapes and prints
its peak, what is resident between updates, and the CPU time of an update. Variants change glibc's
allocator (environment, or ``mallopt`` from inside), oneDNN's primitive cache, how the loss is
computed, or how many shapes occur.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one arena": {"env": {"MALLOC_ARENA_MAX": "1"}},
    "mmap from 64 KiB": {"env": {"MALLOC_MMAP_THRESHOLD_": "65536"}},
    "mmap from 1 MiB": {"env": {"MALLOC_MMAP_THRESHOLD_": "1048576"}},
    "mallopt mmap from 1 MiB": {"mallopt": 1 << 20},
    "trim at 64 MiB": {"env": {"MALLOC_TRIM_THRESHOLD_": str(64 << 20)}},
    "no oneDNN cache": {"env": {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0", "LRU_CACHE_CAPACITY": "1"}},
    "chunked loss": {"chunk": 64},
    "chunked loss, mmap from 1 MiB": {"chunk": 64, "mallopt": 1 << 20},
    "logits of padding too": {"padding": True},
    "one shape": {"positions": 512},
    "malloc_trim every update": {"trim": True},
    "mallopt mmap from 16 MiB": {"mallopt": 16 << 20},
    "both": {"trim": True, "mallopt": 16 << 20},
}
M_MMAP_THRESHOLD = -3
MAX_S = 30.0


def resident_mb() -> float:
    """Resident size now, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def batches(corpus: Path, updates: int, size: int, mixed: bool) -> list[list[int]]:
    """Rows of clips for each update: a fixed sample, neighbours in length together or not."""
    import numpy as np

    from xlasr.data.corpus import Corpus

    durations = Corpus.open(corpus).split("train").durations_s
    rng = np.random.default_rng(0)
    rows = np.argsort(durations, kind="stable")
    rows = rows[durations[rows] <= MAX_S]
    if mixed:
        rng.shuffle(rows)
    starts = rng.integers(0, len(rows) - size, updates)
    return [rows[s : s + size].tolist() for s in starts]


def measure(args: argparse.Namespace, variant: dict[str, Any]) -> dict[str, Any]:
    """Train a few updates in this process and say what they cost."""
    if "mallopt" in variant:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, variant["mallopt"])
    import torch
    from torch.nn import functional

    from xlasr.data.cache import cache_dir
    from xlasr.data.corpus import Corpus
    from xlasr.data.text import normalise
    from xlasr.models.encoders import Context
    from xlasr.models.hub import find_base
    from xlasr.models.run import from_base
    from xlasr.models.whisper_ct2 import fetch_tiny_en

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    base = find_base(str(fetch_tiny_en(cache_dir())))
    model: Any = from_base(base, "seq2seq", context=Context(), language="cs").train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=args.fused)
    split = Corpus.open(args.corpus).split("train")
    loaded, resident, steps = resident_mb(), [], []
    for rows in batches(args.corpus, args.updates, args.batch, args.mixed):
        before = time.process_time()
        utterances = [split[i] for i in rows]
        features = model.features([u.load() for u in utterances], variant.get("positions"))
        inputs, targets = model.target_ids([normalise(u.text) for u in utterances])
        hidden = model.decoder_states(model.encoder(features), inputs)
        keep = torch.ones_like(targets, dtype=torch.bool)
        if not variant.get("padding"):
            keep = targets != -100
        hidden, targets = hidden[keep], targets[keep]
        if chunk := variant.get("chunk"):
            # the gradient of each chunk is taken at once, so its logits need not be kept
            leaf, loss = hidden.detach().requires_grad_(), 0.0
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                logits = model.hf.proj_out(leaf[part])
                total = functional.cross_entropy(logits, targets[part], reduction="sum")
                (total / len(targets)).backward()
                loss += total.item() / len(targets)
            hidden.backward(leaf.grad)
        else:
            total = functional.cross_entropy(model.hf.proj_out(hidden), targets)
            total.backward()
            loss = total.item()
        del hidden, features
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if variant.get("trim"):
            ctypes.CDLL(None).malloc_trim(0)
        steps.append(time.process_time() - before)
        resident.append(round(resident_mb()))
    return {
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "loaded_mb": round(loaded),
        "resident_mb": resident,
        "cpu_s_an_update": round(sum(steps[1:]) / max(1, len(steps) - 1), 3),
        "minor_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt,
        "loss": round(loss, 4),
    }


def main() -> None:
    """Run the variants, or with --variant one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--mixed", action="store_true", help="batches of mixed lengths")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        print(json.dumps(measure(args, VARIANTS[args.variant])))
        return
    for name, variant in VARIANTS.items():
        if args.only and name not in args.only:
            continue
        command = [sys.executable, *sys.argv, "--variant", name]
        environment = {**os.environ, **variant.get("env", {})}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        print(f"{name:30}", done.stdout.decode().strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
