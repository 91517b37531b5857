"""``metrics.jsonl`` and the progress bar."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from xlasr.errors import RunError, UsageError
from xlasr.files import write_text
from xlasr.training.development import DevResult


class Metrics:
    """Rows of JSON, appended; also TensorBoard where it is installed and asked for.

    Args:
        path: ``metrics.jsonl``.
        tensorboard: Folder for TensorBoard events, or None.

    Raises:
        UsageError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path = path
        self.board: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError(
                    "TensorBoard is not installed: pip install 'xlasr[tensorboard]', or go on "
                    "without it (metrics.jsonl holds the same numbers)"
                ) from error

            self.board = SummaryWriter(str(tensorboard))

    def write(self, **row: Any) -> None:
        """Append a row; ``time`` (seconds since 1970, process CPU-seconds) is never compared.

        A number that is not finite becomes null: JSON has no word for it.

        Raises:
            RunError: The disk is full, or another OS error.
        """
        plain = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
        }
        clock = {"unix": round(time.time(), 3), "cpu_s": round(time.process_time(), 3)}
        line = json.dumps({**plain, "time": clock})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise RunError(
                f"could not write {self.path}: {error}. Checkpoints are intact; make room and go "
                "on with `xlasr adapt --resume`"
            ) from error
        if self.board is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{row['stage']}/{key}", value, row["update"])
            self.board.flush()  # the writer's own thread dies with the process, rows unwritten

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows (a kill may leave half a last line)."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def forget_after(self, stage: str, update: int) -> None:
        """Drop rows of a stage behind an update, and of its result: they are written again."""
        kept = [
            row
            for row in self.rows()
            if row["stage"] != stage or (row["update"] <= update and "average_of" not in row)
        ]
        self._replace(kept)

    def take_over(self, stage: str, other: Metrics, its_name: str) -> None:
        """Copy the rows of a stage of another run, as this run's stage."""
        kept = [row for row in self.rows() if row["stage"] != stage]
        taken = [{**row, "stage": stage} for row in other.rows() if row["stage"] == its_name]
        self._replace(kept + taken)

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))


class Progress:
    """Progress of a stage on the terminal: loss, audio-seconds a second, time left, dev CER.

    Args:
        console: Where to draw; None is silent.
    """

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.bar: Bar | None = None
        self.task: Any = None
        self.audio_s = 0.0
        self.loss = float("nan")
        self.cer = ""
        self.began = time.monotonic()

    def start(self, name: str, total: int, done: int) -> None:
        """Begin (or go on with) a stage."""
        self.stop()
        self.audio_s, self.began = 0.0, time.monotonic()
        if self.console is None:
            return
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.bar.start()
        self.task = self.bar.add_task(name, total=total, completed=done, facts="")

    def step(self, seconds: float, loss: float) -> None:
        """One update over ``seconds`` of audio."""
        self.audio_s += seconds
        self.loss = loss if self.loss != self.loss else 0.95 * self.loss + 0.05 * loss
        if self.bar is not None:
            speed = self.audio_s / max(1e-9, time.monotonic() - self.began)
            facts = f"loss {self.loss:.2f}  {speed:.0f} audio-s/s{self.cer}"
            self.bar.update(self.task, advance=1, facts=facts)

    def evaluated(self, update: int, train_loss: float, result: DevResult) -> None:
        """Show what dev says."""
        self.cer = f"  dev CER {100 * result.cer:.1f} %"
        each = ", ".join(f"{name} {100 * cer:.1f} %" for name, cer in result.by_language.items())
        self.note(
            f"update {update}: train loss {train_loss:.3f}, dev loss {result.loss:.3f}, "
            f"dev CER {100 * result.cer:.1f} %, WER {100 * result.wer:.1f} %"
            + (f" (mean of the languages; CER of {each})" if each else "")
        )

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self.console is not None:
            (self.bar.console if self.bar else self.console).print(text, highlight=False)

    def stop(self) -> None:
        """Take the bar down."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
