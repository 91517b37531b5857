"""The copied recipe and xlasr: same model, clips, batch and trainable part, in one run.

    python benchmarks/adapt_vs_transformers.py CORPUS --out results.jsonl [--updates 20]

For each pair the two systems train in turn, each in a process of its own with the same number of
threads; printed are audio-seconds per second, process CPU-seconds and peak memory, and their
ratios. Absolute numbers depend on the machine; the ratios are the result. Throughput is of
training alone: model loading, the first ten updates of xlasr and evaluation are left out of it, as
loading and evaluation are for the peer. ``--score`` also compares what both have learnt after the
same number of updates.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SKIP = 10
"""Updates of xlasr before its clock starts (first contact with every shape)."""

BATCH_S = 120.0
"""Padded seconds in a batch of xlasr: eight clips at the usual context, four at 30 s."""

CELLS: dict[str, dict[str, Any]] = {
    # name: peer's arguments, xlasr's recipe and settings
    "full": {
        "peer": ["--trainable", "full"],
        "recipe": "whisper-full",
        "set": ["adapt.output.mode=keep"],
    },
    "full, cut vocabulary": {
        "peer": ["--trainable", "full"],
        "recipe": "whisper-full",
        "set": [],
    },
    "decoder": {
        "peer": ["--trainable", "decoder"],
        "recipe": "whisper-full",
        "set": ["adapt.output.mode=keep", "adapt.train.part=head"],
    },
    "decoder, cut vocabulary": {
        "peer": ["--trainable", "decoder"],
        "recipe": "whisper-full",
        "set": ["adapt.train.part=head"],
    },
    "ctc": {"peer": ["--family", "ctc"], "recipe": "ctc", "set": ["adapt.train.unfreeze_at=0"]},
    "ctc, head only": {
        "peer": ["--family", "ctc", "--trainable", "head"],
        "recipe": "ctc",
        "set": ["adapt.train.part=head"],
    },
}


def xlasr_side(corpus: Path, cell: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Train with xlasr in this process; returns what it cost."""
    from xlasr import api

    updates = given.updates + (0 if given.score else SKIP)
    settings = [
        *cell["set"],
        "adapt.augment.speed=[1.0]",
        "adapt.augment.spec=null",
        "adapt.objectives.0.label_smoothing=0.0",
        f"adapt.batch_s={BATCH_S}",
        f"adapt.batch_clips={given.batch}",
        f"adapt.optim.lr={given.lr}",
        "adapt.optim.head_lr=null",
        f"adapt.optim.warmup={max(1, given.updates // 10)}",
        "adapt.optim.average=1",
        f"adapt.optim.precision={given.precision}",
        "adapt.stop.epochs=null",
        f"adapt.stop.updates={updates}",
        f"adapt.evaluate.every={updates}",
        "adapt.evaluate.seconds=30",
        f"context.full_share={given.full_share}",
    ]
    folder = Path(tempfile.mkdtemp()) / "run"
    run = api.adapt(
        corpus,
        recipe=cell["recipe"],
        out=folder,
        overrides=settings,
        seed=given.seed,
        threads=given.threads,
    )
    rows = [r for r in run.metrics if "loss" in r]
    first, last = rows[0], rows[-1]
    wall = last["time"]["unix"] - first["time"]["unix"]
    audio = last["audio_s"] - first["audio_s"]
    found = {
        "system": "xlasr",
        "updates": last["update"] - first["update"],
        "train_audio_s": round(audio, 1),
        "audio_s_per_s": round(audio / wall, 3),
        "train_cpu_s": round(last["time"]["cpu_s"] - first["time"]["cpu_s"], 1),
        "peak_rss_mb": run.facts["cost"]["peak_memory_mb"],
        "trainable_parameters": run.summaries[-1]["trainable_parameters"],
        "bfloat16": run.summaries[-1]["bfloat16"],
        "commit": run.facts["environment"]["commit"],
    }
    if given.score:
        found |= scores(run)
    shutil.rmtree(folder.parent)
    return found


def scores(run: Any) -> dict[str, Any]:
    """Score the test split greedily: with the run's own context and, for Whisper, with 30 s."""
    from xlasr.data.corpus import Corpus
    from xlasr.decoding.recognise import DecodeOptions
    from xlasr.reporting.evaluate import score_split, transcribe_split
    from xlasr.scoring import rate_interval

    split = Corpus.open(run.facts["corpus"]["path"]).split("test")
    found: dict[str, Any] = {}
    for name, whole in (("own context", False), ("30 s", True)):
        if whole and run.model.family != "seq2seq":
            continue
        heard = transcribe_split(run.model, split, DecodeOptions(full_context=whole))
        score = score_split(split, heard, "headline")
        cer = rate_interval(score, "cer")
        found[name] = {"wer": round(score.wer, 5), "cer": round(cer.value, 5)}
        found[name]["cer_interval"] = [round(end, 5) for end in cer.ends]
    return {"scores": found}


def in_process(arguments: list[str]) -> dict[str, Any]:
    """Run a script in a process of its own and read the JSON it appends to a file."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as file:
        subprocess.run([sys.executable, *arguments, "--out", file.name], check=True)
        found: dict[str, Any] = json.loads(file.read().splitlines()[-1])
        return found


def main() -> None:
    """Run every pair, print and append the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="clips")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto", help="of xlasr: auto, float32, bfloat16")
    parser.add_argument("--full-share", type=float, default=0.1, help="xlasr's long contexts")
    parser.add_argument("--score", action="store_true", help="both transcribe the test split")
    parser.add_argument("--only", choices=list(CELLS), action="append")
    parser.add_argument("--side", choices=list(CELLS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.updates < 11:
        parser.error("--updates of at least 11: xlasr writes a row of metrics every ten updates")
    if given.side:
        row = xlasr_side(given.corpus, CELLS[given.side], given)
        given.out.open("a", encoding="utf-8").write(json.dumps(row) + "\n")
        return
    common = [
        str(given.corpus),
        *(f"--{k}={getattr(given, k)}" for k in ("updates", "batch", "lr", "seed", "threads")),
    ]
    peers: dict[str, dict[str, Any]] = {}
    print(f"{'cell':26}{'peer a-s/s':>11}{'xlasr':>8}{'ratio':>7}{'CPU ratio':>10}{'memory':>8}")
    for name, cell in CELLS.items():
        if given.only and name not in given.only:
            continue
        key = " ".join(cell["peer"])
        if key not in peers:
            script = str(HERE / "copied_recipe.py")
            peers[key] = in_process(
                [
                    script,
                    *common,
                    *cell["peer"],
                    "--warmup",
                    str(max(1, given.updates // 10)),
                    *([] if given.score else ["--max-test-clips", "1"]),
                ]
            )
        ours = in_process(
            [
                __file__,
                *common,
                "--side",
                name,
                "--precision",
                given.precision,
                "--full-share",
                str(given.full_share),
                *(["--score"] if given.score else []),
            ]
        )
        peer = peers[key]
        per_s = [r["train_cpu_s"] / r["train_audio_s"] for r in (ours, peer)]
        row = {
            "cell": name,
            "peer": peer,
            "xlasr": ours,
            "throughput_ratio": round(ours["audio_s_per_s"] / peer["audio_s_per_s"], 2),
            "cpu_ratio": round(per_s[0] / per_s[1], 3),
            "memory_ratio": round(ours["peak_rss_mb"] / peer["peak_rss_mb"], 3),
        }
        print(
            f"{name:26}{peer['audio_s_per_s']:11.2f}{ours['audio_s_per_s']:8.2f}"
            f"{row['throughput_ratio']:7.1f}{row['cpu_ratio']:10.3f}{row['memory_ratio']:8.2f}",
            flush=True,
        )
        with given.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
