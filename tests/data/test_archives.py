"""Archives: unpacked member by member, and what is refused."""

from __future__ import annotations

import io
import itertools
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import sound

from xlasr.data.archives import ArchiveLimits, content, is_archive, unpack
from xlasr.data.prepare import prepare
from xlasr.errors import DataError, UsageError

Members = list[tuple[str, bytes]]


def zipped(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, members: Members, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


MAKERS: dict[str, Callable[[Path, Members], Path]] = {
    "a.zip": zipped,
    "a.tar": tarred,
    "a.tar.gz": lambda path, members: tarred(path, members, "w:gz"),
    "a.tar.bz2": lambda path, members: tarred(path, members, "w:bz2"),
    "a.txz": lambda path, members: tarred(path, members, "w:xz"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_in_comes_out(tmp_path: Path, name: str) -> None:
    members = [("x/a.txt", "Věta".encode()), ("x/y/b.bin", bytes(range(256)) * 9000)]
    path = MAKERS[name](tmp_path / name, members)
    before = path.read_bytes()
    assert is_archive(path)
    unpack(path, tmp_path / "to")
    assert content(tmp_path / "to") == tmp_path / "to/x"
    for member, data in members:
        assert (tmp_path / "to" / member).read_bytes() == data
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("bad", ["../x", "/etc/x", "a/../../x", "C:x", "a\\..\\x"])
def test_paths_that_lead_out(tmp_path: Path, name: str, bad: str) -> None:
    path = MAKERS[name](tmp_path / name, [("ok.txt", b"a"), (bad, b"b")])
    with pytest.raises(DataError, match="absolute, leads out"):
        unpack(path, tmp_path / "in/to")
    assert [p.name for p in (tmp_path / "in").rglob("*")] in (["to", "ok.txt"], ["to"])


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="'a' is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "to")
    assert not (tmp_path / "to/a").exists()


def test_links_in_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="'a' is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "to")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_limits_are_counted(tmp_path: Path, name: str) -> None:
    many = MAKERS[name](tmp_path / name, [(f"{n}.txt", b"a") for n in range(20)])
    with pytest.raises(DataError, match=r"more than 19 members; the next is '19.txt'"):
        unpack(many, tmp_path / "1", limits=ArchiveLimits(max_members=19))
    unpack(many, tmp_path / "2", limits=ArchiveLimits(max_members=20))
    large = MAKERS[name](tmp_path / name, [("a.txt", b"a" * 3_000_000)])
    with pytest.raises(DataError, match=r"more than 2999999 bytes unpacked, at member 'a.txt'"):
        unpack(large, tmp_path / "3", limits=ArchiveLimits(max_bytes=2_999_999))
    bomb = MAKERS[name](tmp_path / name, [("a.txt", bytes(70 << 20))])
    with pytest.raises(DataError, match="more than 200 times the size of the archive"):
        unpack(bomb, tmp_path / "4")
    assert (tmp_path / "4/a.txt").stat().st_size <= 64 << 20


def test_a_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.size = tarfile.XHDTYPE, 1 << 32
        archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]
        archive.fileobj.write(bytes(1 << 20))  # type: ignore[union-attr]
    with pytest.raises(DataError, match="cannot be unpacked after 0 members: a header of"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "to")


@pytest.mark.parametrize("name", MAKERS)
def test_truncated_or_damaged(tmp_path: Path, name: str) -> None:
    members = [(f"{n}.txt", bytes([n]) * 700) for n in range(6)]
    whole = MAKERS[name](tmp_path / name, members).read_bytes()
    for n_bytes in {0, 1, len(whole) // 2, len(whole) // 2 // 512 * 512, len(whole) // 3}:
        (tmp_path / name).write_bytes(whole[:n_bytes])
        with pytest.raises(DataError, match=r"cannot be unpacked|damaged or truncated"):
            unpack(tmp_path / name, tmp_path / f"to{n_bytes}")


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", [("a", b"1"), ("b", b"2"), ("c", b"3")])
    damaged = bytearray(path.read_bytes())
    damaged[1024 + 150] ^= 0xFF  # the checksum of b
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged or truncated"):
        unpack(path, tmp_path / "to")


def test_a_name_that_stands_twice(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", [("a", b"1"), ("./a", b"2")])
    with pytest.raises(DataError, match="stands twice"):
        unpack(path, tmp_path / "to")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_no_damaged_byte_hides_a_member(tmp_path: Path, name: str) -> None:
    """A wrong length in a zip's directory, a wrong stream that ends early."""
    whole = MAKERS[name](tmp_path / name, [("x/a", b"A" * 50), ("x/b", b"B" * 50)]).read_bytes()
    refused = 0
    for at, value in itertools.product(range(len(whole)), (0, 1, 0x10, 0xFF)):
        damaged = bytearray(whole)
        damaged[at] = value
        (tmp_path / name).write_bytes(damaged)
        try:
            unpack(tmp_path / name, tmp_path / "to")
            assert len([p for p in (tmp_path / "to").rglob("*") if p.is_file()]) == 2, (at, value)
        except DataError:
            refused += 1
        shutil.rmtree(tmp_path / "to", ignore_errors=True)
    assert refused > len(whole)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damaged_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """All members, or an error; never a part in silence, and nothing outside."""
    folder = tmp_path_factory.mktemp("damaged")
    name = data.draw(st.sampled_from(list(MAKERS)))
    members = [("x/a.txt", b"A" * 50), ("x/b.txt", b"B" * 50)]
    path = MAKERS[name](folder / name, members)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        unpack(path, folder / "to")
    except DataError:
        pass
    else:
        assert len([p for p in (folder / "to").rglob("*") if p.is_file()]) == 2
    assert {p.name for p in folder.iterdir()} <= {name, "to"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_the_layout_inside_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    members = [("cs/text", b"".join(f"u{n} text {n}\n".encode() for n in range(4)))]
    members += [("cs/wav.scp", b"".join(f"u{n} u{n}.wav\n".encode() for n in range(4)))]
    for n in range(4):
        members.append((f"cs/u{n}.wav", sound(tmp_path / "x.wav", 0.5 + n / 10).read_bytes()))
    path = MAKERS[name](tmp_path / name, members)
    corpora = [prepare(path, tmp_path / f"out{n}", language="cs", progress=False) for n in range(2)]
    sides = [{u.id: (s, u.group) for s in c.splits for u in c.split(s)} for c in corpora]
    assert sides[0] == sides[1] and {group for _, group in sides[0].values()} == {
        "u0", "u1", "u2", "u3"
    }  # fmt: skip
    assert corpora[0].card.source == str(path)
    assert list((tmp_path / "cache/unpacked").iterdir()) == []
    with pytest.raises(UsageError, match="cannot refer to it"):
        prepare(path, tmp_path / "x", language="cs", progress=False, copy_audio=False)
