"""ELAN: ``.eaf`` files whose tiers annotate stretches of a recording.

Annotations on time-aligned tiers have their own times; where a time slot in a subdivision has none,
it is put where ELAN draws it, evenly between its neighbours. Annotations on symbolic tiers have the
times of their parent, or an even share of them where it has several. What was placed evenly is said
and marked ``custom["times"] = "interpolated"``: nobody listened for these times.

Source: the EAF 3.0 schema, and ELAN's ``TimeProposer`` for the even placing.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from xlasr.data.annotations.eaf import AUTHOR, role_of
from xlasr.data.quarantine import Entry, Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.media import path_of
from xlasr.data.readers.segments import (
    Transcript,
    read_bytes,
    read_transcripts,
    transcript_files,
)
from xlasr.data.readers.tiers import Annotation, Tier
from xlasr.errors import DataError

SUFFIXES = frozenset({".eaf"})

_PLACES = ("TIER", "TIER/ANNOTATION", "TIER/ANNOTATION/*/ANNOTATION_VALUE")

Slots = dict[str, float | None]
"""Time slot -> milliseconds; None where the file gives no time."""
Span = tuple[float, float, bool]
"""Begin and end in milliseconds, and whether they were placed evenly."""


@dataclass
class _Times:
    """What is known about times so far: of slots, which of them were placed, of annotations."""

    slots: Slots
    placed: set[str] = field(default_factory=set)
    spans: dict[str, Span] = field(default_factory=dict)


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read an ``.eaf`` file, or all of a folder.

    Raises:
        DataError: There is none.
        UsageError: Several tiers could be meant, or the chosen ones are not there.
    """
    return read_transcripts(root, transcript_files(root, SUFFIXES), parse, options, quarantine)


def parse(path: Path, stem: str, options: ReadOptions, quarantine: Quarantine) -> list[Transcript]:
    """Parse one file.

    Raises:
        DataError: Not XML, not ELAN, entities in it, or times in another unit than milliseconds.
    """
    document = _xml(path)
    header = document.find("HEADER")
    unit = header.get("TIME_UNITS", "milliseconds") if header is not None else "milliseconds"
    if unit != "milliseconds":
        raise DataError(
            f"{path}: its times are in {unit!r}, not in milliseconds. Save it with a current ELAN."
        )
    kinds = {
        kind.get("LINGUISTIC_TYPE_ID", ""): kind.get("CONSTRAINTS", "")
        for kind in document.findall("LINGUISTIC_TYPE")
    }
    elements = document.findall("TIER")
    places = _hierarchy({e.get("TIER_ID", ""): e.get("PARENT_REF", "") for e in elements})
    tiers: dict[int, Tier] = {}
    times = _Times(_slots(document))
    # Parents first: the times of their children depend on theirs.
    for i, element in sorted(enumerate(elements), key=lambda e: places[e[1].get("TIER_ID", "")][1]):
        kind = element.get("LINGUISTIC_TYPE_REF", "")
        name = element.get("TIER_ID", "")
        speaker = (element.get("PARTICIPANT") or "").strip() or None
        tiers[i] = Tier(name, kind=kind, speaker=speaker, tree=places[name][0], index=i)
        tiers[i].role = role_of(kind, name) if document.get("AUTHOR") == AUTHOR else ""
        _read_tier(tiers[i], element, kinds.get(kind, ""), times)
    media, offsets = _media(path, header)
    transcript = Transcript(path, stem, [tiers[i] for i in sorted(tiers)], media, offsets=offsets)
    even = sum("times" in a.custom for tier in tiers.values() for a in tier.annotations)
    if even:
        transcript.told.append(
            f"{even} annotations have no times of their own and were placed evenly, as ELAN draws"
            " them; better choose a tier that is aligned"
        )
    return [transcript]


def _xml(path: Path) -> ElementTree.Element:
    content = read_bytes(path)
    try:
        document = fromstring(content)
    except DefusedXmlException as error:
        raise DataError(
            f"{path}: refused, it declares entities or fetches others ({error}); no .eaf needs"
            " that. Where does it come from?"
        ) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: not well-formed XML ({error}). Open it in ELAN and save it again; a backup"
            " (.eaf.001) may be beside it."
        ) from error
    if document.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{path}: not an ELAN file, its first element is {document.tag!r}.")
    for place in _PLACES:
        tag = place.rsplit("/", 1)[-1]
        if len(document.findall(place)) != sum(1 for _ in document.iter(tag)):
            raise DataError(
                f"{path}: damaged: an element {tag} is not where it belongs ({place}), so that"
                " texts would be lost or change places. A backup (.eaf.001) may be beside it."
            )
    return document


def _slots(document: ElementTree.Element) -> Slots:
    slots: Slots = {}
    for slot in document.iterfind("TIME_ORDER/TIME_SLOT"):
        value = slot.get("TIME_VALUE")
        try:
            slots[slot.get("TIME_SLOT_ID", "")] = None if value is None else float(int(value))
        except (ValueError, OverflowError):
            continue  # the annotations that refer to it are reported
    return slots


def _hierarchy(parents: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Return the top and the depth of each tier, from the parent of each."""
    found: dict[str, tuple[str, int]] = {}
    for name in parents:
        path: dict[str, None] = {}
        at = name
        while at in parents and at not in found and at not in path:
            path[at] = None
            at = parents[at]
        top, above = found.get(at) or (next(reversed(path), at), -1)
        for depth, below in enumerate(reversed(path), start=above + 1):
            found[below] = (top, depth)
    return found


def _read_tier(tier: Tier, element: ElementTree.Element, constraint: str, times: _Times) -> None:
    """Fill ``tier``; note the span of each annotation for the tiers that refer to it."""
    aligned = element.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
    referring = element.findall("ANNOTATION/REF_ANNOTATION")
    _place_slots(aligned, times)
    shares = _shares(referring, constraint)
    for annotation in [*aligned, *referring]:
        key = annotation.get("ANNOTATION_ID", "")
        if key in times.spans:
            _problem(tier, key, "bad annotation", "its id is that of an earlier annotation")
        elif len(annotation.findall("ANNOTATION_VALUE")) > 1:
            _problem(tier, key, "bad annotation", "it has several texts")
        elif annotation.tag == "REF_ANNOTATION":
            _read_reference(tier, annotation, shares.get(key), times)
        else:
            _read_aligned(tier, annotation, times)
    n_strange = len(element.findall("ANNOTATION")) - len(aligned) - len(referring)
    for _ in range(n_strange):
        _problem(tier, "?", "bad annotation", "neither aligned nor referring to another")


def _place_slots(aligned: Sequence[ElementTree.Element], times: _Times) -> None:
    """Give the slots without times in chains of annotations the times that ELAN proposes.

    A chain is a row of annotations each of which begins in the slot where the last one ended.
    """
    slots = times.slots
    follows = {a.get("TIME_SLOT_REF1", ""): a.get("TIME_SLOT_REF2", "") for a in aligned}
    dead: set[str] = set()  # no time is ever reached from there
    for first in [slot for slot in follows if slots.get(slot) is not None]:
        between: dict[str, None] = {}
        at = follows[first]
        while at in slots and slots[at] is None and at not in between and at not in dead:
            between[at] = None
            at = follows.get(at, "")
        begin, end = slots[first], slots.get(at)
        if begin is None or end is None:
            dead.update(between)
            continue
        # Whole milliseconds, as ELAN: the last annotation gets the rest.
        step = (end - begin) // (len(between) + 1)
        for n, slot in enumerate(between, start=1):
            slots[slot] = begin + n * step
        times.placed.update(between)


def _shares(referring: list[ElementTree.Element], constraint: str) -> dict[str, tuple[int, int]]:
    """Return which part of its parent an annotation is: (number from 0, number of parts).

    Those whose order cannot be told are left out.
    """
    siblings: dict[str, dict[str, str]] = {}  # parent -> previous annotation -> annotation
    counts: dict[str, int] = {}
    for a in referring:
        parent = a.get("ANNOTATION_REF", "")
        counts[parent] = counts.get(parent, 0) + 1
        siblings.setdefault(parent, {})[a.get("PREVIOUS_ANNOTATION", "")] = a.get(
            "ANNOTATION_ID", ""
        )
    shares: dict[str, tuple[int, int]] = {}
    for parent, after in siblings.items():
        if counts[parent] == 1:
            shares.update(dict.fromkeys(after.values(), (0, 1)))
            continue
        if constraint == "Symbolic_Association":
            continue  # one to one by definition
        order: list[str] = []
        key = after.get("")
        while key is not None and len(order) < counts[parent]:
            order.append(key)
            key = after.get(key)
        if len(order) == counts[parent]:
            shares.update({key: (n, len(order)) for n, key in enumerate(order)})
    return shares


def _read_reference(
    tier: Tier, annotation: ElementTree.Element, share: tuple[int, int] | None, times: _Times
) -> None:
    key = annotation.get("ANNOTATION_ID", "")
    parent = annotation.get("ANNOTATION_REF", "")
    if parent not in times.spans:
        detail = f"it refers to {parent!r}, which is not there or has no times"
        _problem(tier, key, "no times", detail)
    elif share is None:
        detail = f"several annotations refer to {parent!r}, and their order is not given"
        _problem(tier, key, "no times", detail)
    else:
        begin, end, even = times.spans[parent]
        n, n_parts = share
        width = (end - begin) / n_parts
        span = (begin + n * width, begin + (n + 1) * width, even or n_parts > 1)
        _keep(tier, annotation, span, times)


def _read_aligned(tier: Tier, annotation: ElementTree.Element, times: _Times) -> None:
    key = annotation.get("ANNOTATION_ID", "")
    names = [annotation.get(f"TIME_SLOT_REF{n}", "") for n in (1, 2)]
    begin, end = (times.slots.get(name) for name in names)
    if begin is not None and end is not None:
        _keep(tier, annotation, (begin, end, not times.placed.isdisjoint(names)), times)
        return
    name = names[0] if begin is None else names[1]
    if name in times.slots:
        detail = f"time slot {name!r} has no time, and no neighbours with times on both sides"
        _problem(tier, key, "no times", detail)
    else:
        detail = f"time slot {name!r} is not there, or its time is no whole number"
        _problem(tier, key, "bad annotation", detail)


def _keep(tier: Tier, annotation: ElementTree.Element, span: Span, times: _Times) -> None:
    key = annotation.get("ANNOTATION_ID", "")
    times.spans[key] = span
    value = annotation.find("ANNOTATION_VALUE")
    text = "" if value is None else "".join(value.itertext())
    custom = {"annotation": key, **({"times": "interpolated"} if span[2] else {})}
    begin_s, end_s = span[0] / 1000, span[1] / 1000
    tier.annotations.append(Annotation(f"annotation {key}", text, begin_s, end_s, custom=custom))


def _problem(tier: Tier, key: str, reason: str, detail: str) -> None:
    where = f"annotation {key}"
    tier.problems.append(Entry(where, reason, f"tier {tier.name!r}, {where}: {detail}"))


def _media(path: Path, header: ElementTree.Element | None) -> tuple[list[str], dict[str, float]]:
    """Return the recordings that the file names, and where in each time 0 of the annotations is.

    Raises:
        DataError: A time that is no number.
    """
    names: list[str] = []
    offsets: dict[str, float] = {}
    media = [] if header is None else header.findall("MEDIA_DESCRIPTOR")
    for attribute in ("RELATIVE_MEDIA_URL", "MEDIA_URL"):
        for descriptor in media:
            name = descriptor.get(attribute, "")
            try:
                offset_s = int(descriptor.get("TIME_ORIGIN") or 0) / 1000
            except (ValueError, OverflowError) as error:
                raise DataError(f"{path}: TIME_ORIGIN is no number ({error}).") from error
            if name.strip():
                names.append(name)
                offsets[PurePosixPath(path_of(name)).name.lower()] = offset_s
    return names, offsets
