"""``xlasr transcribe --stream``: texts while a recording or a pipe is heard."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.errors import AudioError, Interrupted, UsageError

if TYPE_CHECKING:
    from xlasr.api import Run
    from xlasr.config import DecodeSettings
    from xlasr.decoding.streaming import EndPoints, Heard


@dataclass
class _Screen:
    """Writes what was heard.

    On a terminal partial texts overwrite one line. Elsewhere there are only final ones, or JSON.
    """

    as_json: bool
    is_terminal: bool = field(default_factory=lambda: sys.stdout.isatty())

    def show(self, heard: Heard) -> None:
        if self.as_json:
            line = json.dumps(heard.as_json(), ensure_ascii=False) + "\n"
        elif not self.is_terminal:
            line = f"{heard.text}\n" if heard.is_final and heard.text else ""
        else:
            width = shutil.get_terminal_size().columns
            shown = heard.text if heard.is_final else heard.text[-width + 1 :]
            line = f"\r\x1b[K{shown}" + "\n" * (heard.is_final and bool(heard.text))
        sys.stdout.write(line)
        sys.stdout.flush()


@dataclass
class _Interrupt:
    """Ctrl-C ends the waiting for audio at once, and computing behind the segment it is at."""

    waiting: bool = False
    came: bool = False

    def __call__(self, *_: Any) -> None:
        self.came = True
        if self.waiting:
            raise KeyboardInterrupt

    def blocks(self, blocks: Iterator[Any]) -> Iterator[Any]:
        """Pass blocks on until Ctrl-C."""
        while not self.came:
            self.waiting = True
            try:
                block = next(blocks, None)
            except KeyboardInterrupt:
                return
            finally:
                self.waiting = False
            if block is None:
                return
            yield block


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def stream(
    run: Run,
    audio: list[Path],
    *,
    language: str | None,
    decode: DecodeSettings,
    end_points: EndPoints,
    block_ms: float,
    as_json: bool,
    pace: bool,
    max_hours: float | None,
) -> None:
    """Print what is heard in one recording, or in standard input.

    Raises:
        UsageError: Not exactly one recording; ``pace`` or ``max_hours`` for a pipe.
        AudioError: It cannot be read (further); what could be was printed before.
        Interrupted: Ctrl-C; what was heard was printed before.
    """
    from xlasr.data import audio as files
    from xlasr.data.live import live_blocks
    from xlasr.decoding.latency import Meter, algorithmic_latency

    if len(audio) != 1:
        raise UsageError(f"--stream hears one recording (or - for a pipe); {len(audio)} were given")
    decoder = run.stream(language=language, decode=decode, end_points=end_points)
    blocks: Iterator[Any]
    if str(audio[0]) == "-":
        if pace or max_hours is not None:
            option = "--pace" if pace else "--max-hours"
            raise UsageError(f"{option} is for files; a pipe has a pace and an end of its own")
        blocks = live_blocks(sys.stdin.buffer, block_ms / 1000)
    else:
        limits = files.Limits.of_hours(max_hours)
        blocks = files.stream(audio[0], block_s=block_ms / 1000, limits=limits)
    screen, meter = _Screen(as_json), Meter()
    n_samples = 0
    damage: AudioError | None = None
    with _interruptible() as interrupt:
        try:
            for block in interrupt.blocks(_paced(blocks) if pace else blocks):
                n_samples += len(block)
                for found in meter.timed(lambda block=block: decoder.segments(block)):  # type: ignore[misc]
                    for heard in found:
                        screen.show(heard)
        except AudioError as error:
            damage = error
        for found in meter.timed(decoder.last_segments):
            for heard in found:
                screen.show(heard)
    if n_samples:
        cost = meter.cost(n_samples / files.SAMPLE_RATE)
        print(
            f"{cost.audio_s:.1f} s of audio; algorithmic latency "
            f"{algorithmic_latency(decoder.encoder)}; computing took "
            f"{cost.p50_ms:.1f} ms a segment (p50; p95 {cost.p95_ms:.1f}, longest "
            f"{cost.max_ms:.1f}); real-time factor {cost.real_time_factor:.3f}",
            file=sys.stderr,
        )
    if damage is not None:
        raise damage
    if interrupt.came:
        raise Interrupted("stopped; what was heard until then is written")


def _paced(blocks: Iterator[Any]) -> Iterator[Any]:
    """Give each block when it would have been spoken."""
    begun, n_samples = time.monotonic(), 0
    for block in blocks:
        n_samples += len(block)
        time.sleep(max(0.0, begun + n_samples / 16_000 - time.monotonic()))
        yield block
