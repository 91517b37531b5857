"""Fetch Debian packages without root and without installing them: download, check, unpack.

Packages are unpacked into ``cache_dir()/debian/NAME_VERSION``, and several packages of one source
are linked together in ``cache_dir()/debian/trees``; a folder of that name is complete,
because it is renamed into place last. A .deb file put into ``cache_dir()/debian`` by hand is used
instead of a download (and checked in the same way).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from xlasr.data.cache import cache_dir
from xlasr.errors import DataError
from xlasr.files import sha256

KNOWN_SHA256 = {
    "asterisk-core-sounds-en_1.6.1-1": (
        "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50"
    ),
    "asterisk-core-sounds-en-g722_1.6.1-1": (
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"
    ),
    "asterisk-core-sounds-es_1.6.1-1": (
        "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74"
    ),
    "asterisk-core-sounds-es-g722_1.6.1-1": (
        "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8"
    ),
    "asterisk-core-sounds-fr_1.6.1-1": (
        "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056"
    ),
    "asterisk-core-sounds-fr-g722_1.6.1-1": (
        "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0"
    ),
    "asterisk-core-sounds-it_1.6.1-1": (
        "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b"
    ),
    "asterisk-core-sounds-it-g722_1.6.1-1": (
        "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016"
    ),
    "asterisk-prompt-es-co_0.20070403-2.1": (
        "6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83"
    ),
    "asterisk-prompt-fr-armelle_20070613-2.2": (
        "162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3"
    ),
    "fillets-ng-data_1.0.1-1.1": (
        "25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84"
    ),
    "fillets-ng-data-cs_1.0.1-1.1": (
        "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"
    ),
    "fillets-ng-data-nl_1.0.1-1.1": (
        "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"
    ),
    "fortunes-cs_2.0.9-1.1": ("5a38a15bcd58c6a2f777a1f2db8d51da901bc3d0147b2db3597c8a1b78acb447"),
}
"""sha256 of the .deb files that the project's numbers were made with."""


def fetch(package: str, *, say: Callable[[str], None] = print) -> Path:
    """Return the root of an unpacked Debian package, fetching it first where needed.

    Args:
        package: The package's name.
        say: Called with lines that the person should see.

    Returns:
        The folder that stands for ``/``.

    Raises:
        DataError: No apt or dpkg here, no network, an unknown package, or a wrong checksum.
    """
    store = cache_dir() / "debian"
    store.mkdir(parents=True, exist_ok=True)
    pinned = [name for name in KNOWN_SHA256 if name.split("_")[0] == package]
    unpacked = [p for p in store.glob(f"{package}_*") if p.is_dir()]
    for root in sorted(unpacked, key=lambda p: (p.name in pinned, p.stat().st_mtime), reverse=True):
        return root
    _need("dpkg-deb", package)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=store) as scratch:
        folder = Path(scratch)
        by_hand = sorted(store.glob(f"{package}_*.deb"))
        deb = by_hand[-1] if by_hand else _download(package, folder, say)
        name = _check(deb, package, say, by_hand=bool(by_hand))
        tree = folder / "tree"
        unpack = _run(["dpkg-deb", "-x", str(deb), str(tree)], folder)
        if unpack.returncode:
            raise DataError(f"{deb.name}: dpkg-deb could not unpack it: {unpack.stderr.strip()}")
        _rename(tree, store / name)
    return store / name


def fetch_tree(packages: Sequence[str], *, say: Callable[[str], None] = print) -> Path:
    """Return one root that holds several packages, fetching what is missing.

    The files are hard links to those of ``fetch``, so that a shared package is stored once.

    Raises:
        DataError: As ``fetch``.
    """
    roots = [fetch(package, say=say) for package in packages]
    target = cache_dir() / "debian" / "trees" / "+".join(root.name for root in roots)
    if not target.is_dir():
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".merge-", dir=target.parent) as scratch:
            tree = Path(scratch) / "tree"
            for root in roots:
                shutil.copytree(root, tree, copy_function=_link, dirs_exist_ok=True, symlinks=True)
            _rename(tree, target)
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _rename(tree: Path, target: Path) -> None:
    try:
        tree.rename(target)
    except OSError:  # another process was faster; its folder is complete
        if not target.is_dir():
            raise


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise DataError(
            f"{program} is not on this machine, and {package!r} is a Debian package. On Debian or"
            " Ubuntu it is there; elsewhere install the 'dpkg' tool, download the package from a"
            f" Debian mirror and put its .deb file into {cache_dir() / 'debian'}."
        )


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # LC_ALL: the fields of apt-cache are translated otherwise.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def _download(package: str, folder: Path, say: Callable[[str], None]) -> Path:
    _need("apt-get", package)
    say(f"fetching the Debian package {package}")
    result = _run(["apt-get", "download", package], folder)
    if result.returncode and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("apt does not know it yet: updating the package lists (apt-get update)")
        _run(["apt-get", "update"], folder)
        result = _run(["apt-get", "download", package], folder)
    found = sorted(folder.glob(f"{package}_*.deb"))
    if result.returncode or not found:
        reason = [line for line in result.stderr.splitlines() if line.startswith("E:")]
        raise DataError(
            f"apt-get download {package} failed: {' '.join(reason) or result.stderr.strip()}\n"
            "Is there a network? If so, refresh apt's lists with `sudo apt-get update` and try"
            f" again. Or put the package's .deb file into {cache_dir() / 'debian'}."
        )
    return found[-1]


def _check(deb: Path, package: str, say: Callable[[str], None], *, by_hand: bool) -> str:
    """Compare the file's sha256 with the pinned one, or with apt's; return NAME_VERSION."""
    fields = _run(["dpkg-deb", "-f", str(deb), "Package", "Version"], deb.parent).stdout
    parsed = dict(line.split(": ", 1) for line in fields.splitlines() if ": " in line)
    if parsed.get("Package") != package or "Version" not in parsed:
        raise DataError(f"{deb}: not the Debian package {package} (damaged?). Delete it.")
    version = parsed["Version"]
    name = f"{package}_{version}".replace("/", "_")
    digest = sha256(deb)
    expected = KNOWN_SHA256.get(name)
    if expected is None:
        expected = _apt_sha256(package, version, deb.parent)
        say(
            f"notice: {package} {version} is not the version that the published numbers were made"
            " with; it was checked against apt's own hash"
        )
    if digest != expected:
        advice = "Delete it and fetch again." if by_hand else "Try again; tell us if it stays so."
        raise DataError(
            f"{deb.name}: sha256 is {digest}, expected {expected or 'unknown to apt'}."
            f" The file is damaged or was tampered with. {advice}"
        )
    return name


def _apt_sha256(package: str, version: str, folder: Path) -> str | None:
    if shutil.which("apt-cache") is None:
        return None
    shown = _run(["apt-cache", "show", f"{package}={version}"], folder).stdout
    hashes = [s.split(": ", 1)[1] for s in shown.splitlines() if s.startswith("SHA256: ")]
    return hashes[0] if hashes else None
