"""Real speech and a real model, fetched by xlasr's own code into its cache; shared by all tests.

Where they cannot be fetched, the tests that need them are skipped with the reason; with CI=true
that is a failure instead, so that a green CI has really run them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from xlasr.errors import XlasrError

# Tiny models gain nothing from threads, and threads that spin beside other work cost minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Hypothesis's deadlines are timings: beside other work they fail for no fault of ours.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def fetched(fetch: Callable[[], Path]) -> Path:
    """Return what ``fetch`` gives, or skip (fail in CI) with its own message."""
    try:
        return fetch()
    except XlasrError as error:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"CI must run this test, but: {error}", pytrace=False)
        pytest.skip(str(error))


def debian(*packages: str) -> Path:
    """Return the unpacked root of Debian packages."""
    from xlasr.data.readers.debian import fetch_tree

    return fetched(lambda: fetch_tree(packages))


@pytest.fixture(scope="session")
def tiny_en_dir() -> Path:
    """OpenAI's Whisper tiny.en as a transformers directory (float32)."""
    from xlasr.data.cache import cache_dir
    from xlasr.models.whisper_ct2 import fetch_tiny_en

    return fetched(lambda: fetch_tiny_en(cache_dir()))


@pytest.fixture(scope="session")
def fillets_tree() -> Path:
    """Root of the unpacked Czech dialogues: ``usr/share/games/fillets-ng``."""
    return debian("fillets-ng-data", "fillets-ng-data-cs")


@pytest.fixture(scope="session")
def asterisk_tree() -> Path:
    """Root of the unpacked English prompts: ``usr/share/asterisk/sounds``."""
    return debian("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722")


@pytest.fixture(scope="session")
def english_clips(asterisk_tree: Path) -> list[NDArray[np.float32]]:
    """Twenty-five real English prompts of 2 to 8 s, float32 mono 16 kHz, always the same ones."""
    from xlasr.data.audio import decode

    clips: list[NDArray[np.float32]] = []
    for path in sorted((asterisk_tree / "usr/share/asterisk/sounds").glob("en_*/*.g722")):
        if 16_000 <= path.stat().st_size <= 64_000:  # G.722 is 8,000 bytes a second
            clips.append(decode(path))
    return clips[:: max(1, len(clips) // 25)][:25]


@pytest.fixture(scope="session")
def sclite() -> Path:
    """NIST's scorer, from Debian's ``sctk``."""
    from xlasr.data.readers.debian import fetch

    root = fetched(lambda: fetch("sctk"))
    found = sorted(root.glob("usr/**/sclite"))
    if not found:
        pytest.fail(f"Debian's sctk has no sclite in {root}", pytrace=False)
    return found[0]
