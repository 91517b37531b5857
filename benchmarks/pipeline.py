"""What the host does beside the model: its share of an update, and a corpus of a million clips.

    python benchmarks/pipeline.py share CORPUS [--updates 40] [--threads 2] [--recipe whisper-full]
    python benchmarks/pipeline.py million CORPUS [--clips 1000000]

``share`` trains the first stage of a recipe and measures, in the same process, how much of an
update is decoding (of sound and pictures), augmentation, log-mels and collation. ``million`` writes
a manifest of that many utterances (each points at real audio of CORPUS, under an id of its own),
opens it in a fresh process, plans an epoch and loads the first batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from study import greedily


def cpu_s() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    """Resident size now, in MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def share(corpus: Path, updates: int, threads: int, recipe: str, base: str) -> dict[str, Any]:
    """CPU and wall time of host work as a share of training."""
    from xlasr import api
    from xlasr.config import load_recipe
    from xlasr.models import encoders
    from xlasr.training import engine

    spent = {"host_cpu_s": 0.0, "host_wall_s": 0.0, "cpu_s": 0.0, "wall_s": 0.0}
    seen = 0

    def timed(work: Any, cpu_key: str, wall_key: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            cpu, wall = cpu_s(), time.perf_counter()
            try:
                return work(*args, **more)
            finally:
                if seen > 10:  # the first updates meet every shape for the first time
                    spent[cpu_key] += cpu_s() - cpu
                    spent[wall_key] += time.perf_counter() - wall

        return call

    engine.load_batch = timed(engine.load_batch, "host_cpu_s", "host_wall_s")
    encoders.spec_augment = timed(encoders.spec_augment, "host_cpu_s", "host_wall_s")
    plain = engine.Trainer._update
    counted = timed(plain, "cpu_s", "wall_s")

    def update(trainer: engine.Trainer, batch: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            kind = type(trainer.model)
            kind.features = timed(kind.features, "host_cpu_s", "host_wall_s")
        counted(trainer, batch)

    engine.Trainer._update = update
    with tempfile.TemporaryDirectory() as scratch:
        total = updates + 10
        (name, data), *_ = ((s.name, s.data) for s in load_recipe(recipe).stages)
        settings = [f"{name}.stop.updates={total}", f"{name}.evaluate.every={total}"]
        settings += [f"{name}.optim.average=1", f"{name}.evaluate.seconds=10"]
        settings += [f"{name}.data=[{{path: main}}]"] if data else []
        plan = load_recipe(recipe, settings)
        plan = greedily(plan.model_copy(update={"stages": plan.stages[:1], "decoder": None}))
        run = api.adapt(corpus, recipe=plan, base=base, out=Path(scratch) / "run", threads=threads)
        commit = run.facts["environment"]["commit"]
    return {
        "host_share_of_cpu": round(spent["host_cpu_s"] / spent["cpu_s"], 4),
        "host_share_of_wall": round(spent["host_wall_s"] / spent["wall_s"], 4),
        "updates": updates,
        "threads": threads,
        "commit": commit,
    }


def write_million(corpus: Path, folder: Path, clips: int) -> float:
    """Write the manifest; returns its size in MB."""
    from xlasr.data.card import Card
    from xlasr.data.corpus import Corpus, Utterance
    from xlasr.data.writing import write_corpus

    real = Corpus.open(corpus)
    train = list(real.split("train"))

    def many() -> Iterator[Utterance]:
        for i in range(clips):
            yield replace(train[i % len(train)], id=f"copy-{i}")

    card = Card(language=real.card.language, source=f"{clips} references to {corpus.name}")
    write_corpus(folder, {"train": many(), "dev": real.split("dev")}, card)
    return (folder / "train.jsonl").stat().st_size / 1e6


def open_million(folder: Path) -> dict[str, Any]:
    """Open, plan, load one batch: seconds and growth of memory."""
    import numpy as np
    import torch  # counted before: what is measured is the corpus

    from xlasr.config import AugmentSettings
    from xlasr.data.batches import PlanSettings, epoch_plan
    from xlasr.data.corpus import Corpus
    from xlasr.training.sets import load_batch, open_set

    torch.zeros(1)
    before, began = resident_mb(), time.perf_counter()
    corpus = Corpus.open(folder)
    data = open_set(corpus.split("train"), "headline")
    opened = time.perf_counter()
    plan = epoch_plan(
        [data.durations_s],
        lambda seconds: (-(-(seconds * 50 + 16) // 16) * 16).astype(np.int64),
        PlanSettings(batch_s=60.0),
        seed=0,
        epoch=0,
    )
    planned = time.perf_counter()
    clips, texts, _ = load_batch([data], plan[0], AugmentSettings(), seed=0, epoch=0)
    done = time.perf_counter()
    first = resident_mb() - before
    for batch in plan[1:51]:
        load_batch([data], batch, AugmentSettings(), seed=0, epoch=0)
    return {
        "utterances": len(data.rows),
        "batches": len(plan),
        "first_batch_clips": len(clips),
        "texts": len(texts),
        "open_s": round(opened - began, 3),
        "plan_s": round(planned - opened, 3),
        "first_batch_s": round(done - planned, 3),
        "memory_growth_mb": round(first, 1),
        "memory_growth_after_50_more_mb": round(resident_mb() - before, 1),
    }


def main() -> None:
    """Print one JSON row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["share", "million", "open"], help=argparse.SUPPRESS)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", default="whisper-full", help="its first stage")
    parser.add_argument("--base", default="whisper-tiny.en")
    parser.add_argument("--clips", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.what == "share":
        corpus, updates, threads = given.corpus, given.updates, given.threads
        print(json.dumps(share(corpus, updates, threads, given.recipe, given.base)))
    elif given.what == "open":
        print(json.dumps(open_million(given.corpus)))
    else:
        scratch = Path(tempfile.mkdtemp())
        try:
            size = write_million(given.corpus, scratch / "corpus", given.clips)
            command = [sys.executable, __file__, "open", str(scratch / "corpus")]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(json.dumps({"manifest_mb": round(size, 1), **json.loads(found)}))
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
