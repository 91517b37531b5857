"""Files that survive a kill, and their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def sha256(*paths: Path) -> str:
    """Sha256 (hex) of the bytes of files, one after the other, read block by block."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a kill leaves the old one or the new one, never a part."""
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)  # or a power cut could leave the new name on an empty file
    os.replace(temporary, path)
