"""A run folder: what was asked, under a lock, with everything needed to go on or to open it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xlasr.errors import RunBusy, RunError
from xlasr.files import write_text


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; released when it ends, however it ends.

    Raises:
        RunBusy: Another process holds it.
    """
    path = folder / ".lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunBusy(
                f"{folder} is in use by process {holder}; wait for it, stop it, or give another "
                "--out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def read(folder: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Raises:
        RunError: The folder is no run, or run.json is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        raise RunError(
            f"{folder} is no run of xlasr (it has no run.json); `xlasr adapt CORPUS --out RUN` "
            "makes one"
        )
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = found["base"]["sha256"], found["corpus"]["sha256"], found["seed"], found["language"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error!r}); start a new run") from error
    return found


def write(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``run.json`` atomically."""
    write_text(folder / "run.json", json.dumps(facts, indent=1, ensure_ascii=False))


def environment() -> dict[str, Any]:
    """Versions, machine and commit, for the record."""
    packages = ("xlasr", "torch", "transformers", "peft", "lhotse", "numpy")
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except ModuleNotFoundError:
            versions[name] = "not installed as a package"
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
        "commit": _commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _commit() -> str | None:
    """Commit of the source tree, with ``+`` where it has changes; None outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if dirty else "")
