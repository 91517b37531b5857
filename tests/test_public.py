"""The public names: all are there, they are light, and they are the verbs of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import xlasr
from xlasr import cli
from xlasr.models.catalogue import BuiltIn
from xlasr.scoring.scorecard import Scorecard


@pytest.mark.parametrize("name", xlasr.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(xlasr, name)
    assert callable(found)
    assert found.__doc__
    assert name in dir(xlasr)


def test_every_command_is_a_function() -> None:
    verbs = {name.replace("-", "_") for name in vars(typer.main.get_command(cli.app))["commands"]}
    assert verbs - set(xlasr.__all__) == {"transcribe", "demo"}  # Run.transcribe; a show
    with pytest.raises(AttributeError, match="no attribute 'recipe'"):
        _ = xlasr.recipe


def test_bases_and_recipes() -> None:
    (tiny,) = [base for base in xlasr.bases() if base.name == "whisper-tiny.en"]
    assert isinstance(tiny, BuiltIn)
    assert tiny.n_parameters == 37_760_256
    recipes = xlasr.recipes()
    assert [r.name for r in recipes] == sorted(r.name for r in recipes)
    assert {"ctc", "whisper-full"} <= {r.name for r in recipes}
    assert all(isinstance(r, xlasr.Recipe) for r in recipes)


def test_score_of_two_files(tmp_path: Path) -> None:
    for name, text in (
        ("ref", "id\ttext\na\tone two\nb\tthree\n"),
        ("hyp", "id\ttext\na\tone too\nb\tthree\n"),
    ):
        (tmp_path / f"{name}.tsv").write_text(text)
    card = xlasr.score(str(tmp_path / "ref.tsv"), tmp_path / "hyp.tsv")
    assert isinstance(card, Scorecard)
    assert card.wer is not None
    assert card.score.wer == pytest.approx(1 / 3)
    assert card.score.cer == pytest.approx(1 / 12)


def test_what_needs_no_model_loads_none() -> None:
    code = (
        "import sys, xlasr\n"
        "names = [r.name for r in xlasr.recipes()] + [b.name for b in xlasr.bases()]\n"
        "xlasr.score\n"
        "print(len(names) > 4, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    root = str(Path(xlasr.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split(maxsplit=1) == ["True", "[]\n"]
