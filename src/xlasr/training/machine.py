"""What the loop asks of the machine: a polite Ctrl-C, and the precision its processor has."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch


class StopRequest:
    """Turn the first Ctrl-C into a request; the second interrupts at once.

    Args:
        say: Tells the user what happens.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = False
        self._say = say
        self._before: Any = None

    def __enter__(self) -> StopRequest:
        self._before = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not the main thread: the caller handles Ctrl-C
            self._before = None
        return self

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._say("stopping after this update; Ctrl-C again to stop at once")

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether matrix products run in bfloat16 (weights, norms and losses stay float32)."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        return flags == "AVX512" and _has_bfloat16_instructions()
    return False


def _has_bfloat16_instructions() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@lru_cache(maxsize=1)
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # not glibc
        return None


def give_memory_back() -> None:
    """Return freed memory to the system; does nothing without glibc.

    Batches of many shapes leave the heap full of holes, and a resident size that only grows
    (measured by benchmarks/profiles.py).
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
