"""A proposal that can be trained as it stands, and whose reasons follow from what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
from tests import tiny
from typer.testing import CliRunner

from xlasr.api import planning
from xlasr.cli.app import app
from xlasr.config import load_recipe
from xlasr.errors import UsageError


def test_little_audio(whisper_dir: Path, speech: Path, wav2vec2_dir: Path) -> None:
    found = planning.plan(speech, str(whisper_dir), measure=False)
    assert found.recipe.family == "ctc"
    assert found.updates == planning.LEAST_UPDATES  # twelve clips
    assert found.recipe.stages[0].batch_s == 15
    assert any("any text of the language (--text)" in line for line in found.because)
    assert any("more recordings are the best thing" in line for line in found.because)
    assert found.cpu_s_an_update is None
    other = planning.plan(speech, str(wav2vec2_dir), measure=False, text=["a.txt"])
    assert "an encoder without a decoder" in other.because[0]
    assert other.recipe.decode.lm_text == ["a.txt"]
    assert not any("--text" in line for line in other.because)


def test_budgets_grow_with_the_data(speech: Path) -> None:
    _, because = planning._settings("ctc", 260.0, (), None)
    settings, _ = planning._settings("ctc", 260.0, (), None)
    assert "adapt.stop.updates=6000" in settings  # four hours: twice the updates of one
    assert "not measured beyond an hour" in because[0]
    assert not any("batch_s" in line for line in settings)


def test_wishes(whisper_dir: Path, wav2vec2_dir: Path, speech: Path) -> None:
    kept = planning.plan(speech, str(whisper_dir), keep=str(speech), measure=False)
    assert kept.recipe.family == "seq2seq"
    assert [c.path for c in kept.recipe.stages[0].data] == ["main", str(speech)]
    parts = planning.plan(speech, str(whisper_dir), parts=True, measure=False)
    assert parts.recipe.stages[0].train.part == "adapter"
    with pytest.raises(UsageError, match="a frozen base forgets nothing"):
        planning.plan(speech, str(whisper_dir), keep="x", parts=True, measure=False)
    with pytest.raises(UsageError, match="--keep is for Whisper"):
        planning.plan(speech, str(wav2vec2_dir), keep="x", measure=False)


def test_the_command_times_this_machine_and_writes_what_adapt_reads(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plan.yaml"
    wanted = ["plan", str(speech), "--base", str(whisper_dir), "--threads", "1", "--out", str(out)]
    done = CliRunner().invoke(app, wanted, catch_exceptions=False)
    assert done.exit_code == 0
    assert "CPU-seconds an update" in done.output.replace("\n", " ")
    assert load_recipe(str(out)).stages[0].stop.updates == planning.LEAST_UPDATES
    with pytest.raises(UsageError, match="exists; name another file"):
        CliRunner().invoke(app, wanted, catch_exceptions=False)


def test_a_base_of_which_nothing_was_measured(speech: Path, tmp_path: Path) -> None:
    seamless = str(tiny.seamless_dir(tmp_path / "seamless"))
    for parts in (False, True):
        with pytest.raises(UsageError, match="nothing was measured here"):
            planning.plan(speech, seamless, measure=False, parts=parts)
    with pytest.raises(UsageError, match="--keep is for Whisper"):
        planning.plan(speech, seamless, measure=False, keep="x")


def test_the_nearest_language_is_learnt_first(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    far, near = (small.write_speech(tmp_path / tag, language=tag).path for tag in ("nl", "sk"))
    found = planning.plan(speech, str(whisper_dir), related=[far, near], threads=1)
    first, second = found.recipe.stages
    assert [entry.path for entry in first.data] == [str(near)]
    assert first.stop.updates == second.stop.updates == planning.LEAST_UPDATES
    assert first.init == "base" and second.init == first.name and second.output.mode == "extend"
    assert any("Slovak first" in line and "Dutch" in line for line in found.because)
    assert found.cpu_s_an_update  # both stages ran
    with pytest.raises(UsageError, match="for a new CTC head"):
        planning.plan(speech, str(whisper_dir), related=[near], parts=True, measure=False)
    with pytest.raises(UsageError, match="the target itself"):
        planning.plan(speech, str(whisper_dir), related=[speech], measure=False)
