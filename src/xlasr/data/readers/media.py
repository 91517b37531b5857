"""Find the recording of a transcript: beside it, or where the person says. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from xlasr.data.readers.folder import AUDIO_SUFFIXES, walk
from xlasr.errors import UsageError

_VIDEO = frozenset(".mp4 .webm .mkv .mov .3gp .avi .mpg .mpeg".split())


def path_of(url: str) -> str:
    r"""Return the path that a media reference names: of a URL, a Windows or a POSIX path.

    ``file:///C:/Users/Eva/a%20b.wav`` and ``C:\Users\Eva\a b.wav`` give ``C:/Users/Eva/a b.wav``;
    ``/data/local-files/?d=day%201/b.wav`` gives ``day 1/b.wav``; of ``https://host/a/b.wav?x=1``
    the part ``/a/b.wav`` is left.
    """
    url = url.strip().replace("\\", "/")
    if "?d=" in url:
        return unquote(url.split("?d=", 1)[1])
    if "://" not in url and not url.startswith("file:"):
        return url
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:  # "http://[": not a URL after all
        return url
    return path[1:] if path[2:3] == ":" else path


class Media:
    """Recordings by name.

    Args:
        folder: That of the transcripts.
        given: A folder of recordings, or the recording itself, if the person named one.
        n_transcripts: How many there are; a single recording serves only one.

    Raises:
        UsageError: ``given`` is not there, or is one file and there are several transcripts.
    """

    def __init__(self, folder: Path, given: Path | None, *, n_transcripts: int = 1) -> None:
        self.folder = folder
        self.given = given
        self._listed: dict[Path, dict[str, list[Path]]] = {}
        self._below: dict[str, list[Path]] | None = None
        if given is None:
            return
        if not given.exists():
            raise UsageError(f"{given}: no such folder of recordings. Correct --media.")
        if given.is_file() and n_transcripts > 1:
            raise UsageError(
                f"{given} is one recording and there are {n_transcripts} transcripts. Give the"
                " folder that holds their recordings: --media FOLDER"
            )

    def find(
        self, transcript: Path, names: Sequence[str], stems: Sequence[str] | None = None
    ) -> tuple[Path | None, str]:
        """Return the recording of a transcript.

        Looked for in this order: below the folder that the person named; where the transcript
        says; beside the transcript by the name that it gives; beside it by its own stem. Sound
        goes before video.

        Args:
            transcript: The file.
            names: Paths or URLs that it gives.
            stems: What it may be called without suffix; None is the stem of the transcript.

        Returns:
            The recording or None, and what the person should know: what was looked for, or which
            other file was passed by.
        """
        if self.given is not None and self.given.is_file():
            return self.given, ""
        here = transcript.parent
        wanted = sorted(dict.fromkeys(map(path_of, names)), key=_is_video)
        stems = [transcript.stem] if stems is None else stems
        found: list[Path] = []
        if self.given is not None:
            found = self._search_given(here, wanted, stems)
            stems_found = {path.stem for path in found}
            if len(stems_found) < len(found):
                return None, f"several recordings could be meant: {_names(found)}"
        if not found:
            found = [here / name for name in wanted if _is_recording(here / name)]
        if not found:
            beside = self._list(here)
            found = [path for name in wanted for path in _named(beside, name)]
            found = found or [path for stem in stems for path in _named(beside, stem)]
        if not found:
            said = [f"{PurePosixPath(name).name!r}" for name in wanted]
            said += [f"{stem!r} with the suffix of a recording" for stem in stems]
            places = f"in {here}" + (f" or below {self.given}" if self.given else "")
            return None, (
                f"no recording: looked for {', '.join(said)} {places}. Say where it is: --media"
                " FOLDER"
            )
        others = [path for path in found if path.stem != found[0].stem]
        if others:
            return found[0], f"cuts {found[0].name}; not used: {_names(others)}"
        return found[0], ""

    def _search_given(self, here: Path, wanted: Sequence[str], stems: Sequence[str]) -> list[Path]:
        """Return recordings below the given folder: one per name, more where that is in doubt."""
        if self._below is None:
            self._below = _index(walk(self.given)) if self.given is not None else {}
        parent = here.relative_to(self.folder) if here.is_relative_to(self.folder) else Path()
        found: dict[Path, Path] = {}
        for name in [*wanted, *stems]:
            if found and name in stems:
                break
            paths = _named(self._below, name)
            # Of day1/a.wav and day2/a.wav the one that shares more of the path is meant.
            rank = {
                p: (_shared(name, p), _shared((parent / _key(name)).as_posix(), p)) for p in paths
            }
            best = max(rank.values(), default=(0, 0))
            for path in paths:
                if rank[path] == best:  # several formats of one recording are no doubt
                    found.setdefault(path.with_suffix(""), path)
        return list(found.values())

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listed:
            self._listed[folder] = _index(sorted(folder.iterdir()))
        return self._listed[folder]


def group_key(audio: Path, media: Media) -> str:
    """Return a name of a recording that is the same on every machine, where that is possible."""
    for folder in (media.folder, media.given):
        if folder is not None and audio.is_relative_to(folder) and audio != folder:
            return audio.relative_to(folder).with_suffix("").as_posix()
    return audio.stem


def _index(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return recordings by lower-case name and by lower-case stem."""
    index: dict[str, list[Path]] = {}
    for path in paths:
        if _is_recording(path):
            for name in {path.name.lower(), path.stem.lower()}:
                index.setdefault(name, []).append(path)
    return index


def _key(name: str) -> str:
    return PurePosixPath(name).name.lower()


def _named(index: Mapping[str, list[Path]], name: str) -> list[Path]:
    """Return the recordings of a name or stem, best first; in another case only if need be."""
    paths = sorted(index.get(_key(name), ()), key=_rank)
    plain = PurePosixPath(name).name
    return [path for path in paths if plain in (path.name, path.stem)] or paths


def _shared(name: str, path: Path) -> int:
    """Return how many parts at the end of two paths are equal, without case and suffix."""
    ours = PurePosixPath(name.lower()).with_suffix("").parts[::-1]
    theirs = PurePosixPath(path.as_posix().lower()).with_suffix("").parts[::-1]
    pairs = list(zip(ours, theirs, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def _is_recording(path: Path) -> bool:
    try:
        return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_video(name: str | Path) -> bool:
    return PurePosixPath(name).suffix.lower() in _VIDEO


def _rank(path: Path) -> tuple[bool, bool, str]:
    """Order recordings of one stem: sound before video, whole before compressed."""
    return _is_video(path), path.suffix.lower() not in {".wav", ".flac"}, path.name


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))
