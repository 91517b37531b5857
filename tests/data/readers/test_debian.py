"""Fetching Debian packages: real .deb files, and an apt-get that the test controls."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from xlasr.data.readers import debian
from xlasr.errors import DataError

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not here")


class FakeApt:
    """Packages to download, and an apt-get on the PATH that copies them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "mirror"
        self.bin = folder / "bin"
        self.log = folder / "log"
        for path in (self.store, self.bin):
            path.mkdir()
        self.script(
            "apt-get", f'cp {self.store}/"$2"_*.deb . || {{ echo "E: no $2" >&2; exit 100; }}'
        )
        self.script("apt-cache", f'cat {self.store}/"$2".show')

    def script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def package(self, name: str, version: str, content: str) -> Path:
        """Build a package that holds one file, /usr/share/NAME/content."""
        tree = self.folder / "build" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: A <a@example.org>\nDescription: x\n"
        )
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "content").write_text(content)
        deb = self.store / f"{name}_{version}_all.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(deb)],
            check=True,
            capture_output=True,
        )
        sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
        (self.store / f"{name}={version}.show").write_text(f"Package: {name}\nSHA256: {sha256}\n")
        return deb

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    fake = FakeApt(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return fake


def test_a_pinned_package_is_fetched_once(apt: FakeApt, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = apt.package("speech", "1.0-1", "hello")
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    monkeypatch.setitem(debian.KNOWN_SHA256, "speech_1.0-1", digest)
    said: list[str] = []
    root = debian.fetch("speech", say=said.append)
    assert (root / "usr/share/speech/content").read_text() == "hello"
    assert said == ["fetching the Debian package speech"]
    assert debian.fetch("speech") == root
    assert apt.calls() == ["apt-get download speech"]
    # Nothing but the finished folder is left in the cache.
    assert [p.name for p in root.parent.iterdir()] == ["speech_1.0-1"]


def test_another_version_is_checked_against_apt_and_said(
    apt: FakeApt, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt.package("speech", "2.0+dfsg-1", "new")
    monkeypatch.setitem(debian.KNOWN_SHA256, "speech_1.0-1", "0" * 64)
    said: list[str] = []
    root = debian.fetch("speech", say=said.append)
    assert (root / "usr/share/speech/content").read_text() == "new"
    assert "notice: speech 2.0+dfsg-1 is not the version" in said[1]
    assert "apt-cache show speech=2.0+dfsg-1" in apt.calls()
    assert debian.fetch("speech") == root


@pytest.mark.parametrize("where", ["pinned", "apt", "nobody"])
def test_a_wrong_checksum_is_refused(
    apt: FakeApt, monkeypatch: pytest.MonkeyPatch, where: str, tmp_path: Path
) -> None:
    apt.package("speech", "1.0-1", "tampered")
    if where == "pinned":
        monkeypatch.setitem(debian.KNOWN_SHA256, "speech_1.0-1", "0" * 64)
    elif where == "apt":
        (apt.store / "speech=1.0-1.show").write_text(f"SHA256: {'1' * 64}\n")
    else:
        (apt.store / "speech=1.0-1.show").unlink()
    with pytest.raises(DataError, match=r"sha256 is [0-9a-f]{64}, expected (0{64}|1{64}|unknown)"):
        debian.fetch("speech", say=lambda line: None)
    assert not list((tmp_path / "cache" / "debian").iterdir())


def test_a_failed_download_says_what_to_do(apt: FakeApt) -> None:
    with pytest.raises(DataError, match=r"(?s)E: no speech.*sudo apt-get update.*\.deb file into"):
        debian.fetch("speech", say=lambda line: None)
    assert apt.calls() == ["apt-get download speech"]


def test_root_refreshes_the_lists_by_itself(
    apt: FakeApt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deb = apt.package("speech", "1.0-1", "hello")
    late = deb.rename(tmp_path / "late.deb")
    body = f'if [ "$1" = update ]; then cp {late} {deb}; else cp {deb} . || exit 100; fi'
    apt.script("apt-get", body)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    debian.fetch("speech", say=said.append)
    assert apt.calls()[:3] == [
        "apt-get download speech",
        "apt-get update",
        "apt-get download speech",
    ]
    assert any("updating the package lists" in line for line in said)


def test_a_file_put_there_by_hand_is_used_and_checked(
    apt: FakeApt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deb = apt.package("speech", "1.0-1", "hello")
    store = tmp_path / "cache" / "debian"
    store.mkdir(parents=True)
    by_hand = shutil.copy(deb, store / deb.name)
    monkeypatch.setitem(debian.KNOWN_SHA256, "speech_1.0-1", "0" * 64)
    with pytest.raises(DataError, match="Delete it and fetch again"):
        debian.fetch("speech")
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    monkeypatch.setitem(debian.KNOWN_SHA256, "speech_1.0-1", digest)
    assert debian.fetch("speech").name == "speech_1.0-1"
    assert apt.calls() == []
    Path(by_hand).write_bytes(b"not a package")
    shutil.rmtree(store / "speech_1.0-1")
    with pytest.raises(DataError, match="not the Debian package speech"):
        debian.fetch("speech")


def test_without_apt_or_dpkg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"dpkg-deb is not on this machine.*Debian mirror"):
        debian.fetch("speech")


def test_a_tree_of_several_packages(apt: FakeApt, tmp_path: Path) -> None:
    apt.package("text", "1.0-1", "words")
    apt.package("sound", "3.0-1", "noise")
    root = debian.fetch_tree(["text", "sound"], say=lambda line: None)
    assert (root / "usr/share/text/content").read_text() == "words"
    assert (root / "usr/share/sound/content").read_text() == "noise"
    calls = apt.calls()
    assert debian.fetch_tree(["text", "sound"]) == root and apt.calls() == calls
    # One package twice on the disk is one package too many.
    single = tmp_path / "cache/debian/text_1.0-1/usr/share/text/content"
    assert single.samefile(root / "usr/share/text/content")
