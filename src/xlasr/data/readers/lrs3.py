"""LRS3: ``PART/VIDEO/NNNNN.mp4`` with ``NNNNN.txt`` beside it; parts pretrain, trainval, test.

A transcript begins with lines ``Key:  value`` (Text, Conf, Ref) and may go on with times of words,
which are not read. A group is a video of YouTube. LRS3 has no dev: one video in twenty of its
training parts is dev. A folder ``dev`` or ``val``, as ``render_faces`` writes it, is one.

Source: Afouras, Chung and Zisserman 2018, LRS3-TED (arXiv 1809.00496);
https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs3.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, encoding_advice
from xlasr.data.readers.folder import walk
from xlasr.data.readers.videos import videos_in, with_sides
from xlasr.data.video import SUFFIXES

PARTS = {"pretrain": "train", "trainval": "train", "dev": "dev", "val": "dev", "test": "test"}
_FIRST = b"Text:"
_OURS = {"Synthetic": "synthetic_video", "Of": "source_id", "Conf": "conf", "Ref": "ref"}


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read all parts below a folder, or one.

    Raises:
        DataError: There is no video.
    """
    base = root if root.is_dir() else root.parent
    videos = videos_in(root, "LRS3")
    for path, group, side in with_sides(videos, base, PARTS, lambda path: path.parent.name):
        record = path.with_suffix("").relative_to(base).as_posix()
        heads = _heads(record, path.with_suffix(".txt"), options, quarantine)
        if heads is not None:
            text = heads.pop("Text")
            custom = {_OURS[key]: value for key, value in heads.items() if key in _OURS}
            yield RawRecord(
                record, path, text, group=group, split=side, custom=custom,
                video=path,
            )  # fmt: skip
    if root.is_dir():
        alone = {p.with_suffix("") for p in walk(root) if p.suffix.lower() == ".txt"}
        for stem in sorted(alone - {path.with_suffix("") for path in videos}):
            name = stem.relative_to(base).as_posix()
            quarantine.add(name, "missing video", f"no video beside {stem.name}.txt")


def is_root(files: list[Path]) -> bool:
    """Return whether the first transcript beside a video is one of LRS3's."""
    videos = {path.with_suffix("") for path in files if path.suffix.lower() in SUFFIXES}
    texts = (path for path in files if path.suffix == ".txt" and path.with_suffix("") in videos)
    first = next(texts, None)
    if first is None:
        return False
    with first.open("rb") as file:
        return file.read(8).removeprefix(b"\xef\xbb\xbf").startswith(_FIRST)


def _heads(
    record: str, path: Path, options: ReadOptions, quarantine: Quarantine
) -> dict[str, str] | None:
    """Return the lines ``Key: value`` at the head of a transcript; report one without a text."""
    if not path.is_file():
        quarantine.add(record, "missing text", f"no {path.name} beside the video")
        return None
    content = path.read_bytes()
    try:
        lines = content.decode(options.encoding).removeprefix("\ufeff").splitlines()
    except UnicodeError as error:
        advice = encoding_advice(content, options.encoding)
        quarantine.add(record, "bad encoding", f"{path}: {error}. {advice}")
        return None
    heads: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            break
        heads.setdefault(key.strip(), value.strip())
    if "Text" not in heads:
        quarantine.add(record, "bad transcript", f"{path}: no line that begins 'Text:'")
        return None
    return heads
