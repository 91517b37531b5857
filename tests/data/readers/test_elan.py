"""ELAN: files that pympi wrote, choices of tiers, where the recording is, wrong files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi.Elan import Eaf
from tests.data.readers.annotated import read, sound

from xlasr.data.annotations import AnnotatedRecording, TimedText, render
from xlasr.errors import UsageError

TALK = {
    "A-text": [(500, 1750, "Dobrý den."), (2000, 4250, "Jak se <máte> & co?")],
    "B-text": [(4300, 6000, "Děkuji, dobře."), (6000, 7000, "")],
}


def eaf(folder: Path, name: str = "talk", media: str | None = None) -> Eaf:
    """Two speakers on a tier each; the sentences are translated on a tier that refers to them."""
    sound(folder / f"{name}.wav", channels=2)
    file = Eaf(author="eva")
    file.remove_tier("default")
    file.add_linguistic_type("utterance")
    file.add_linguistic_type("translation", constraints="Symbolic_Association", timealignable=False)
    for tier, spans in TALK.items():
        file.add_tier(tier, ling="utterance", part={"A-text": "Eva", "B-text": "Jan"}[tier])
        for begin, end, text in spans:
            file.add_annotation(tier, begin, end, text)
    file.add_tier("A-en", ling="translation", parent="A-text", part="Eva")
    for begin, _, text in TALK["A-text"]:
        file.add_ref_annotation("A-en", "A-text", begin + 10, f"EN {text}")
    if media is not None:
        file.add_linked_file(media, mimetype="audio/x-wav")
    return file


def save(file: Eaf, path: Path, **attributes: str) -> Path:
    """Write with pympi; attributes go on the media descriptor, where pympi has no word for them."""
    file.to_file(str(path))
    if attributes:
        document = ElementTree.parse(path)
        for descriptor in document.iter("MEDIA_DESCRIPTOR"):
            descriptor.attrib.update(attributes)
        document.write(path, encoding="utf-8", xml_declaration=True)
    return path


def test_a_tier_by_name(tmp_path: Path) -> None:
    path = save(eaf(tmp_path), tmp_path / "talk.eaf")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    result = read("elan", path, tiers=["A-text"])
    assert result.spans == [(b / 1000, e / 1000, text) for b, e, text in TALK["A-text"]]
    first = result.records[0]
    assert (first.id, first.speaker, first.group) == ("talk-A-text-00000500", "Eva", "talk")
    assert first.audio == tmp_path / "talk.wav" and first.channel is None
    assert first.custom["tier"] == "A-text" and first.custom["annotation"].startswith("a")
    assert not result.reasons
    assert "not read (annotations): 'B-text' (2), 'A-en' (2)" in result.said
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    ("options", "tiers"),
    [
        ({"tier_type": "utterance"}, {"A-text", "B-text"}),
        ({"tier_type": "translation"}, {"A-en"}),
        ({"tier_index": 1}, {"B-text"}),
        ({"participant": "Jan"}, {"B-text"}),
        ({"participant": "Eva", "tier_type": "translation"}, {"A-en"}),
        ({"tiers": ["B-text", "A-en"]}, {"B-text", "A-en"}),
        ({"tiers": ["A-text", "A-en"]}, {"A-text", "A-en"}),  # both were named
    ],
)
def test_ways_to_choose(tmp_path: Path, options: dict[str, object], tiers: set[str]) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    result = read("elan", tmp_path, **options)
    assert {record.custom["tier"] for record in result.records} == tiers
    assert result.n_rows == 2 * len(tiers)


def test_our_own_files_need_no_choice(tmp_path: Path) -> None:
    """Of what xlasr wrote the texts are read, of all speakers; confidences and words are not."""
    media = sound(tmp_path / "talk.wav")
    words = [TimedText(0.5, 1.0, "Dobrý", confidence=0.5), TimedText(1.0, 1.5, "den.")]
    spoken = [
        TimedText(0.5, 1.5, "Dobrý den.", words, speaker="Eva", confidence=0.75),
        TimedText(1.25, 2.0, "Zdravím.", speaker="Eva", confidence=0.5),  # a tier of its own
        TimedText(2.0, 3.0, "Ano.", speaker="Jan 2", confidence=0.25),
    ]
    path = tmp_path / "talk.eaf"
    path.write_text(render("eaf", [AnnotatedRecording(media, spoken)], tmp_path), "utf-8")
    result = read("elan", path)
    assert sorted(result.spans) == [(s.start_s, s.end_s, s.text) for s in spoken]
    assert [r.speaker for r in result.records] == ["Eva", "Eva", "Jan 2"] and not result.reasons
    assert "not read (annotations): 'words@Eva' (2), 'confidence@Eva'" in result.said
    assert read("elan", path, participant="Jan 2").spans == [(2.0, 3.0, "Ano.")]
    assert {t for _, _, t in read("elan", path, tier_type="words").spans} == {"Dobrý", "den."}
    # A tier that somebody added may be the better text: who knows. So it is with others' files.
    file = Eaf(str(path))
    file.add_tier("oprava", ling="transcription")
    file.add_annotation("oprava", 500, 1500, "Dobrý den!")
    file.to_file(str(tmp_path / "more.eaf"))
    with pytest.raises(UsageError, match=r"several tiers could be meant: .*'oprava'"):
        read("elan", tmp_path / "more.eaf", media=media)
    other = path.read_text("utf-8").replace('AUTHOR="xlasr"', 'AUTHOR="eva"')
    path.write_text(other, "utf-8")
    with pytest.raises(UsageError, match=r"several tiers could be meant: .*'confidence@Eva'"):
        read("elan", path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"(?s)talk\.eaf: several tiers could be meant: 'A-text', 'B-text', 'A-en'\..*"
             r"'A-text' \(number 0, type 'utterance', participant 'Eva', 2 annotations in 1 file\):"
             r" Dobrý den\..*--tier NAME.*--tier-index N, --tier-type TYPE, --participant NAME"),
        ({"participant": "Eva"}, r"--participant 'Eva' fits several tiers: 'A-text', 'A-en'"),
        ({"tiers": ["A-txt"]}, r"no tier 'A-txt'\. Did you mean 'A-text'"),
        ({"tier_type": "gloss"}, r"(?s)no tier fits --tier-type 'gloss'.*type 'translation'"),
        ({"tier_index": 3}, r"no tier fits --tier-index 3"),
        ({"tiers": ["A-text"], "channels": {"Evo": 1}}, r"no tier or speaker.*Did you mean 'Eva'"),
    ],
)  # fmt: skip
def test_a_choice_that_is_none(tmp_path: Path, options: dict[str, object], message: str) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    with pytest.raises(UsageError, match=message):
        read("elan", tmp_path, **options)


def test_two_speakers_are_no_choice_either(tmp_path: Path) -> None:
    file = eaf(tmp_path)
    file.remove_tier("A-en")
    save(file, tmp_path / "talk.eaf")
    with pytest.raises(UsageError, match=r"several tiers could be meant: 'A-text', 'B-text'\."):
        read("elan", tmp_path)


def test_the_only_tier_with_text_needs_no_choice(tmp_path: Path) -> None:
    file = eaf(tmp_path)
    file.remove_tiers(["A-text", "A-en"])
    file.add_tier("notes", ling="utterance")
    file.add_annotation("notes", 0, 900, "  ")
    save(file, tmp_path / "talk.eaf")
    result = read("elan", tmp_path)
    assert [record.custom["tier"] for record in result.records] == ["B-text"]
    assert result.reasons == [("talk B-text", "empty annotation")]
    assert len(result.quarantine) == 1
    assert "not read (annotations): 'notes' (1)" in result.said


def test_reference_annotations_have_the_times_of_their_parent(tmp_path: Path) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    result = read("elan", tmp_path, tiers=["A-en"])
    assert result.spans == [(b / 1000, e / 1000, f"EN {text}") for b, e, text in TALK["A-text"]]
    assert all("times" not in record.custom for record in result.records)


def test_a_speaker_on_each_channel(tmp_path: Path) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    result = read("elan", tmp_path, tier_type="utterance", channels={"Eva": 1, "B-text": 0})
    assert {r.speaker: r.channel for r in result.records} == {"Eva": 1, "Jan": 0}


def test_odd_annotations_are_listed(tmp_path: Path) -> None:
    path = save(eaf(tmp_path), tmp_path / "talk.eaf")
    text = path.read_text("utf-8")
    ids = re.findall('ANNOTATION_ID="(a[0-9]+)"', text)
    text = text.replace(f'ANNOTATION_ID="{ids[1]}"', f'ANNOTATION_ID="{ids[0]}"', 1)
    strange = r"\1<ANNOTATION><X/></ANNOTATION>"
    text = re.sub('(<TIER[^>]* TIER_ID="A-text"[^>]*>)', strange, text)
    text = text.replace('PARTICIPANT="Eva"', 'PARTICIPANT=" "', 1)
    path.write_text(text, "utf-8")
    result = read("elan", path, tiers=["A-text"])
    assert [(r.text, r.speaker) for r in result.records] == [("Dobrý den.", None)]
    assert [reason for _, reason in result.reasons] == ["bad annotation"] * 2
    details = [entry.detail for entry in result.quarantine]
    assert "its id is that of an earlier annotation" in details[0]
    assert "neither aligned nor referring" in details[1]


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (2000, 2000, "zero length"),
        (2500, 1500, "reversed"),
        (-500, 400, "out of range"),
        (1200, 3000, "overlap"),
    ],
)
def test_impossible_times_are_listed_and_the_rest_goes_on(
    tmp_path: Path, begin: int, end: int, reason: str
) -> None:
    file = eaf(tmp_path)
    file.timeslots.update({"ts501": begin, "ts502": end})
    file.tiers["B-text"][0]["bad"] = ("ts501", "ts502", "špatně", None)
    file.add_annotation("B-text", 1000, 1500, "dobře")
    save(file, tmp_path / "talk.eaf")
    result = read("elan", tmp_path, tiers=["B-text"])
    overlap = reason == "overlap"
    assert [text for _, _, text in result.spans] == ["Děkuji, dobře."] + ["dobře"] * (not overlap)
    reasons = [r for _, r in result.reasons if r != "empty annotation"]
    assert reasons == [reason] * (2 if overlap else 1)
    assert any("annotation bad" in entry.detail for entry in result.quarantine)
    assert result.n_rows == 4


@pytest.mark.parametrize(
    ("link", "attributes", "place"),
    [
        (None, {}, "talk.wav"),
        ("file:///C:/Users/Eva/zvuk%201.wav", {}, "zvuk 1.wav"),
        (r"C:\Users\Eva\zvuk 1.wav", {}, "zvuk 1.wav"),
        ("file:///gone/x.wav", {"RELATIVE_MEDIA_URL": "./sounds/zvuk%201.wav"}, None),
        ("file:///gone/x.wav", {"RELATIVE_MEDIA_URL": "file:./sounds/zvuk%201.wav"},
         "sounds/zvuk 1.wav"),
        ("file:///gone/x.wav", {"RELATIVE_MEDIA_URL": "./sounds/zvuk 1.wav"}, "sounds/zvuk 1.wav"),
        ("https://host.example/a/ZVUK%201.WAV?x=1", {}, "zvuk 1.wav"),
    ],
)  # fmt: skip
def test_where_the_recording_is(
    tmp_path: Path, link: str | None, attributes: dict[str, str], place: str | None
) -> None:
    folder = tmp_path / "in"
    file = eaf(folder, media=link)
    path = save(file, folder / "talk.eaf", **attributes)
    if place != "talk.wav":
        (folder / "talk.wav").unlink()
        sound(folder / (place or "elsewhere/zvuk 1.wav"))
    result = read("elan", path, tiers=["A-text"])
    if place is None:
        assert not result.records
        assert [(e.reason, e.n_records) for e in result.quarantine] == [("missing audio", 2)]
        assert "'x.wav'" in result.quarantine.entries[0].detail
        assert "--media" in result.quarantine.entries[0].detail
        # Below a folder that the person names it is found wherever it lies.
        result = read("elan", path, tiers=["A-text"], media=folder)
        place = "elsewhere/zvuk 1.wav"
        assert not result.records  # not by the name 'x.wav' or 'talk'
        result = read("elan", path, tiers=["A-text"], media=folder / place)
    assert {record.audio for record in result.records} == {folder / place}


def test_time_origin_shifts_the_recording_it_belongs_to(tmp_path: Path) -> None:
    file = eaf(tmp_path, media="file:///x/talk.wav")
    path = save(file, tmp_path / "talk.eaf", TIME_ORIGIN="1500")
    assert [r.start_s for r in read("elan", path, tiers=["A-text"]).records] == [2.0, 3.5]
    path = save(file, tmp_path / "talk.eaf", TIME_ORIGIN="-600")
    result = read("elan", path, tiers=["A-text"])
    assert [r.start_s for r in result.records] == [1.4]
    assert [reason for _, reason in result.reasons] == ["out of range"]
    # Two recordings that begin at different times: that of the one which is cut.
    text = path.read_text("utf-8")
    video = '<MEDIA_DESCRIPTOR MEDIA_URL="talk.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="250" />'
    path.write_text(text.replace("<MEDIA_DESCRIPTOR", f"{video}<MEDIA_DESCRIPTOR", 1), "utf-8")
    assert [r.start_s for r in read("elan", path, tiers=["A-text"]).records] == [1.4]
    other = sound(tmp_path / "copy.wav")
    result = read("elan", path, tiers=["A-text"], media=other)
    assert not result.records
    assert [(e.reason, e.n_records) for e in result.quarantine] == [("ambiguous", 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not well-formed XML"),
        (b"<ANNOTATION_DOCUMENT>", "not well-formed XML"),
        (b"<html></html>", "not an ELAN file, its first element is 'html'"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "not well-formed XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>', "declares entities"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "declares entities"),
        (b'<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="PAL-frames"/></ANNOTATION_DOCUMENT>',
         "in 'PAL-frames', not in milliseconds"),
        (b'<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR TIME_ORIGIN="x"/></HEADER>'
         b"</ANNOTATION_DOCUMENT>", "TIME_ORIGIN is no number"),
        (b"<ANNOTATION_DOCUMENT><TIER><TIER/></TIER></ANNOTATION_DOCUMENT>",
         "an element TIER is not where it belongs"),
        (b"<ANNOTATION_DOCUMENT><TIER><ANNOTATION><REF_ANNOTATION><ANNOTATION/></REF_ANNOTATION>"
         b"</ANNOTATION></TIER></ANNOTATION_DOCUMENT>", "an element ANNOTATION is not where"),
        (b"<ANNOTATION_DOCUMENT><TIER><ANNOTATION_VALUE>a</ANNOTATION_VALUE></TIER>"
         b"</ANNOTATION_DOCUMENT>", "an element ANNOTATION_VALUE is not where"),
    ],
)  # fmt: skip
def test_a_bad_file_does_not_take_the_others_along(
    tmp_path: Path, content: bytes, message: str
) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    (tmp_path / "bad.eaf").write_bytes(content)
    result = read("elan", tmp_path, tiers=["A-text"])
    assert len(result.records) == 2
    assert result.reasons == [("bad.eaf", "bad transcript")]
    assert message in result.quarantine.entries[0].detail


def test_an_annotation_with_two_texts(tmp_path: Path) -> None:
    path = save(eaf(tmp_path), tmp_path / "talk.eaf")
    text = path.read_text("utf-8")
    value = "<ANNOTATION_VALUE>Dobrý den.</ANNOTATION_VALUE>"
    assert text.count(value) == 1
    path.write_text(text.replace(value, value + value.replace("den", "Den")), "utf-8")
    result = read("elan", path, tiers=["A-text"])
    assert len(result.records) == 1
    assert "it has several texts" in result.quarantine.entries[0].detail


def test_a_file_without_the_tier_is_named(tmp_path: Path) -> None:
    save(eaf(tmp_path), tmp_path / "talk.eaf")
    file = eaf(tmp_path, "other")
    file.remove_tiers(["A-text", "A-en"])
    save(file, tmp_path / "other.eaf")
    result = read("elan", tmp_path, tiers=["A-text"])
    assert result.reasons == [("other", "missing tier")]
    assert "Tiers found: 'B-text' (2)" in result.quarantine.entries[0].detail


def test_two_files_about_one_stretch_of_speech(tmp_path: Path) -> None:
    save(eaf(tmp_path, media="talk.wav"), tmp_path / "talk.eaf")
    save(eaf(tmp_path, media="talk.wav"), tmp_path / "talk corrected.eaf")
    result = read("elan", tmp_path, tiers=["A-text"])
    assert not result.records
    assert [reason for _, reason in result.reasons] == ["overlap"] * 4
    assert "leave one of two transcripts" in result.quarantine.entries[0].detail


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"))


@settings(max_examples=50, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000), WORDS), max_size=12),
)
def test_what_pympi_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("eaf")
    (folder / "a.wav").touch()
    file, at, expected, empty = Eaf(), 0, [], 0
    for gap, length, text in gaps:
        begin, at = at + gap, at + gap + length
        file.add_annotation("default", begin, at, text)
        if text.strip():
            expected.append((begin / 1000, at / 1000, text))
        else:
            empty += 1
    file.to_file(str(folder / "a.eaf"))
    result = read("elan", folder)
    assert sorted(result.spans) == expected
    assert len(result.quarantine) == (empty or (0 if gaps else 1))
