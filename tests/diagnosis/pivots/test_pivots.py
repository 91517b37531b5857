"""``pivots`` from end to end: planted corpora, the command, wrong calls, real speech."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.diagnosis.patients import Splits, spoken, written
from tests.diagnosis.test_suspects import run_of
from typer.testing import CliRunner, Result

import xlasr
from xlasr.cli.app import app
from xlasr.data import synthesis
from xlasr.diagnosis.pivots import PivotRanking
from xlasr.errors import DataError, RunError, UsageError

TEXTS = {
    "cs": ["ryba plave pod lodí", "kapitán hledá starou mapu", "děda křičel že prší"],
    "sk": ["ryba pláva pod loďou", "kapitán hľadá starú mapu", "dedo kričal že prší"],
    "nl": ["de vis zwemt onder de boot", "de kapitein zoekt een kaart", "opa riep dat het regent"],
}


def corpus_of(folder: Path, language: str, side: str = "train") -> Path:
    splits: Splits = {
        side: [
            spoken(folder / f"{language}-sound", f"{language}{i}", text, side, seed=i)
            for i, text in enumerate(TEXTS[language])
        ]
    }
    return written(folder / language, splits, language).path


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Path]:
    return {language: corpus_of(tmp_path, language) for language in TEXTS}


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["pivots", *map(str, words)], env={"COLUMNS": "80"})


def flat(text: str) -> str:
    return " ".join(text.split())


def test_without_corpora() -> None:
    found = xlasr.pivots("sk", candidates=["hu", "cs", "qaa", "pl"])
    assert isinstance(found, PivotRanking)
    assert [c.language for c in found.candidates] == ["cs", "pl", "hu", "qaa"]
    czech, unknown = found.candidates[0], found.candidates[-1]
    assert czech.name == "Czech" and czech.minutes == 0
    assert czech.evidence["ancestors"].value == 6
    assert czech.evidence["ancestors"].source == "Glottolog 5, down to Czech-Slovak"
    assert czech.evidence["phones_shared"].source == "espeak-ng, the numbers 0 to 100 in words"
    assert czech.evidence["letters"].value is None
    assert czech.evidence["letters"].source == "sk: no corpus was given"
    assert unknown.evidence["phone_distance"].source == "espeak-ng does not speak qaa"
    assert unknown.score is None and found.notes == []


def test_with_corpora(corpora: dict[str, Path]) -> None:
    found = xlasr.pivots("cs", list(corpora.values()))
    assert [c.language for c in found.candidates] == ["sk", "nl"]
    for candidate in found.candidates:
        missing = {key for key, e in candidate.evidence.items() if e.value is None}
        assert missing == {"pitch_range", "pitch_slope"}  # these voices only whisper
        assert "nothing to measure" in candidate.evidence["pitch_range"].source
        assert candidate.minutes == pytest.approx(0.1, abs=0.05)
        assert candidate.evidence["spectra"].floor is not None
        assert candidate.evidence["phones_shared"].source == "espeak-ng, text of the training sides"
        assert "from one syllable to the next" in candidate.evidence["rhythm"].source
    # letters of the three Czech lines that Dutch lacks: counted by hand
    letters = "".join(TEXTS["cs"]).replace(" ", "")
    lacking = set(letters) - set("".join(TEXTS["nl"]))
    assert {"ř", "ě", "š", "á"} <= lacking
    expected = 1 - sum(c in lacking for c in letters) / len(letters)
    assert found.candidates[1].evidence["letters"].value == pytest.approx(expected)
    assert any("recordings as much as languages" in note for note in found.notes)
    silent = xlasr.pivots("cs", list(corpora.values()), audio=False)
    assert silent.candidates[0].evidence["spectra"].source == "the audio was not looked at"
    assert silent.notes == []


def test_phones_come_from_the_same_kind_of_text(corpora: dict[str, Path]) -> None:
    paths = [corpora["cs"], corpora["sk"]]
    found = xlasr.pivots("cs", paths, candidates=["sk", "pl"], audio=False)
    sources = {c.evidence["phones_shared"].source for c in found.candidates}
    assert sources == {"espeak-ng, the numbers 0 to 100 in words"}
    assert any("there is no text of pl" in note for note in found.notes)
    slovak = next(c for c in found.candidates if c.language == "sk")
    assert slovak.evidence["letters"].value is not None
    without = xlasr.pivots("cs", candidates=["sk", "pl"])
    assert [c.evidence["phones_shared"] for c in without.candidates] == [
        c.evidence["phones_shared"] for c in found.candidates
    ]


def test_what_is_not_used_is_said(tmp_path: Path, corpora: dict[str, Path]) -> None:
    found = xlasr.pivots("cs", list(corpora.values()), candidates=["sk"], audio=False)
    assert "not looked at, for nl is no candidate: nl" in found.notes
    assert any("one candidate alone" in note for note in found.notes)
    dev_only = corpus_of(tmp_path / "dev", "nl", side="dev")
    found = xlasr.pivots("cs", [corpora["cs"], dev_only], audio=True)
    assert found.candidates[0].evidence["rhythm"].source == "nl: its corpus has no train split"
    assert found.candidates[0].evidence["letters"].source == "nl: its corpus has no train split"


def test_corpora_of_one_language_count_together(tmp_path: Path, corpora: dict[str, Path]) -> None:
    again = corpus_of(tmp_path / "again", "nl")
    one = xlasr.pivots("cs", [corpora["cs"], corpora["nl"]], audio=False).candidates[0]
    two = xlasr.pivots("cs", [corpora["cs"], corpora["nl"], again], audio=False).candidates[0]
    assert two.minutes == pytest.approx(2 * one.minutes)


def test_letters_timed_by_a_run(tmp_path: Path, corpora: dict[str, Path]) -> None:
    found = xlasr.pivots("cs", [corpora["cs"], corpora["nl"]], run=run_of(tmp_path))
    assert "from one letter to the next" in found.candidates[0].evidence["rhythm"].source
    with pytest.raises(RunError, match="no finished run"):
        xlasr.pivots("cs", [corpora["cs"], corpora["nl"]], run=tmp_path)
    with pytest.raises(UsageError, match="a run times the letters"):
        xlasr.pivots("cs", [corpora["nl"]], run=tmp_path / "run")


def test_without_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise DataError("this needs espeak-ng: pip install 'xlasr[synthesis]'")

    monkeypatch.setattr(synthesis, "_load", gone)
    found = xlasr.pivots("sk", candidates=["cs", "hu"])
    assert [c.language for c in found.candidates] == ["cs", "hu"]  # the tree is still there
    assert "pip install" in found.candidates[0].evidence["phones_shared"].source


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--target czech --candidates sk", "czech is 'cs'"),
        ("--target cs --candidates slovk", "Did you mean 'slovak'"),
        ("--target cs --candidates sk,ces", "cs is the target, so it cannot be the pivot"),
        ("--target cs", "no candidates for cs"),
        ("--target cs --candidates ,", "no candidates for cs"),
    ],
)
def test_wrong_calls(words: str, told: str) -> None:
    result = run(*words.split())
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)


def test_the_target_alone_is_no_candidate(corpora: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="no candidates"):
        xlasr.pivots("cs", [corpora["cs"]])
    with pytest.raises(UsageError, match="above 0"):
        xlasr.pivots("cs", list(corpora.values()), minutes=0)


def test_the_page(corpora: dict[str, Path]) -> None:
    page = run("--target", "cs", *(w for p in corpora.values() for w in ("--corpus", p)))
    assert page.exit_code == 0, page.output
    told = flat(page.output)
    assert "pivots for Czech (cs)" in told
    assert max(map(len, page.output.splitlines())) <= 80
    assert page.output.index("Slovak") < page.output.index("Dutch")
    assert "sk: down to Czech-Slovak; nl: down to Classical Indo-European" in told
    assert "noise floor" in told and "…" not in page.output
    assert "xlasr evaluate RUN CORPUS_OF_cs --split dev --beam 1 --lm-order 0" in told
    page = run("--target", "cs", "--candidates", "sk,qaa")
    told = flat(page.output)
    assert "missing: phones shared, phone distance of qaa (espeak-ng does not speak qaa)" in told
    assert "missing: letters, spectra, rhythm, pitch range, pitch slope (cs: no corpus" in told
    assert "xlasr evaluate" not in told  # there is nothing to train on
    twins = run("--target", "cs", "--candidates", "ko-KP,ko-KR")
    assert twins.output.count("1=") == 2


def test_json(corpora: dict[str, Path]) -> None:
    words = ["--target", "cs", "--candidates", "sk,nl", "--corpus", corpora["sk"], "--json"]
    found = json.loads(run(*words).stdout)
    assert found["target"] == "cs"
    assert [c["place"] for c in found["candidates"]] == [1, 2]
    first = found["candidates"][0]
    assert first["evidence"]["ancestors"] == {
        "value": 6.0,
        "source": "Glottolog 5, down to Czech-Slovak",
        "floor": None,
        "rank": 1.0,
    }
    assert {m["key"] for m in found["measures"]} == set(first["evidence"])


@pytest.mark.real
@pytest.mark.slow
def test_real_corpora(tmp_path: Path, asterisk_tree: Path, fillets_tree: Path) -> None:
    paths = [
        xlasr.prepare(name, tmp_path / name, progress=False).path
        for name in ("asterisk-en", "fillets-cs")
    ]
    found = xlasr.pivots("cs", paths, minutes=1)
    (english,) = found.candidates
    evidence = english.evidence
    for measure in found.measures:
        one = evidence[measure.key]
        assert one.value is not None and one.rank == 1
        assert (one.floor is not None) == (measure.kind in ("acoustics", "prosody"))
    assert evidence["letters"].value == pytest.approx(0.865, abs=0.01)  # without á č ď é ě í ...
    spectra = evidence["spectra"]
    assert spectra.value is not None and spectra.floor is not None
    assert spectra.value > 1.5 * spectra.floor  # another voice and room, if nothing else
