"""Runs ``adapt`` in children that are killed: started once by test_resume.py, it forks.

``python driver.py JOBS.json``: imports everything once, then runs every job in a forked child (a
fork costs milliseconds, an import of torch seconds). A child counts what it does to the disk and
to the weights; at the operation it was told to die at, it dies by SIGKILL: before it, in the
middle of it (half a file written, half a folder removed), or after it. Nothing of this is known to
the package.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import safetensors.torch
import small
import torch
from transformers import WhisperForConditionalGeneration

from xlasr import api, cli
from xlasr.config import parse_recipe
from xlasr.training import engine, metrics

_ = (WhisperForConditionalGeneration, small)  # imported before the forks
import accelerate  # noqa: E402
import peft  # noqa: E402

_ = (accelerate, peft)  # type: ignore[assignment]


class Counter:
    """Counts operations and dies at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.done = 0
        self.die_at = die_at

    def hook(self, owner: Any, name: str, half: Callable[..., None] | None = None) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.done += 1
            if self.done != self.die_at:
                return real(*args, **kwargs)
            when = self.done % 3
            if when == 1 and half is not None:
                half(*args, **kwargs)
            elif when:
                real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("dead")

        setattr(owner, name, counted)


def install(counter: Counter) -> None:
    """Hook everything that changes the disk, and every update."""
    save_file, write_text, write = (
        safetensors.torch.save_file,
        Path.write_text,
        metrics.Metrics.write,
    )

    def half_tensors(tensors: Any, path: str, *args: Any, **kwargs: Any) -> None:
        save_file(tensors, path, *args, **kwargs)
        os.truncate(path, os.path.getsize(path) // 2)

    def half_text(path: Path, text: str, *args: Any, **kwargs: Any) -> None:
        write_text(path, text[: len(text) // 2], *args, **kwargs)

    def half_row(self: metrics.Metrics, **row: Any) -> None:
        write(self, **row)
        os.truncate(self.path, self.path.stat().st_size - 20)

    real_rmtree = shutil.rmtree

    def half_folder(path: Path, *args: Any, **kwargs: Any) -> None:
        if Path(path).is_dir():
            first = sorted(Path(path).iterdir())[0]
            if first.is_dir():
                real_rmtree(first)
            else:
                first.unlink()

    counter.hook(os, "rename")
    counter.hook(os, "replace")
    counter.hook(os, "fsync")
    counter.hook(shutil, "rmtree", half_folder)
    counter.hook(safetensors.torch, "save_file", half_tensors)
    counter.hook(Path, "write_text", half_text)
    counter.hook(Path, "write_bytes")
    counter.hook(metrics.Metrics, "write", half_row)
    counter.hook(engine.Trainer, "_update")


def plant_nan() -> None:
    """Updates 3, 4 and 5 have no finite loss until the learning rate was halved."""
    real = engine.Trainer._batch_loss

    def planted(self: engine.Trainer, batch: Any) -> Any:
        loss, seconds = real(self, batch)
        if self.guards.rate_scale == 1.0 and self.state.update in (3, 4, 5):
            loss = loss * float("nan")
        return loss, seconds

    engine.Trainer._batch_loss = planted  # type: ignore[method-assign]


def plant_ctrl_c(update: int) -> None:
    """Ctrl-C arrives during an update."""
    real = engine.Trainer._update

    def planted(self: engine.Trainer, batch: Any) -> None:
        real(self, batch)
        if self.state.update == update:
            os.kill(os.getpid(), signal.SIGINT)

    engine.Trainer._update = planted  # type: ignore[method-assign]


def child(job: dict[str, Any], folder: Path, die_at: int | None) -> None:
    """Begin or go on with a run; never returns."""
    os.environ["XLASR_CACHE"] = str(folder.with_name(f"{folder.name}-cache"))
    torch.set_num_threads(1)
    code = 1
    with folder.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        if job.get("nan"):
            plant_nan()
        begun = (folder / "run.json").exists()
        if job.get("ctrl_c") and not begun:
            plant_ctrl_c(job["ctrl_c"])
            recipe = folder.with_suffix(".yaml")
            recipe.write_text(json.dumps(job["recipe"]), encoding="utf-8")
            sys.argv = ["xlasr", "adapt", job["corpus"], "--base", job["base"], "--out"]
            sys.argv += [str(folder), "--recipe", str(recipe), "--threads", "1", "--seed", "3"]
            cli.main()
        counter = Counter(die_at)
        install(counter)
        if begun:
            api.adapt(None, resume=folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            plan = parse_recipe(job["recipe"], "job")
            api.adapt(job["corpus"], base=job["base"], recipe=plan, out=folder, seed=3, threads=1)
        folder.with_suffix(".ops").write_text(str(counter.done))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(job: dict[str, Any], folder: Path, die_at: int | None = None) -> int:
    """Run a child to its end; returns its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        child(job, folder, die_at)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(jobs_file: Path) -> None:
    """Run all jobs; ``FOLDER/JOB/ends.json`` says how every child ended."""
    for job in json.loads(jobs_file.read_text(encoding="utf-8")):
        home = jobs_file.parent / job["name"]
        home.mkdir()
        ends: dict[str, list[int]] = {"whole": [run(job, home / "whole")]}
        if ends["whole"] == [0]:
            ops = int((home / "whole.ops").read_text())
            ends["ops"] = [ops]
            for chain in range(job["chains"]):
                rng = random.Random(f"{job['name']}-{chain}")
                codes = []
                for kill in range(job["kills"]):
                    low = int(ops * job.get("from", 0.0)) if kill == 0 else 0
                    die_at = rng.randint(low + 1, ops if kill == 0 else max(2, ops // 3))
                    codes.append(run(job, home / f"chain{chain}", die_at))
                    if codes[-1] != -signal.SIGKILL:
                        break
                if codes[-1] == -signal.SIGKILL:
                    codes.append(run(job, home / f"chain{chain}"))
                ends[f"chain{chain}"] = codes
        (home / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
