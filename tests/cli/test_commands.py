"""The command line: every kind of bad input is told in words, with the right exit code.

Nothing a person can type or hand in ends in a traceback, and what fails leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli.home import Command, Result, assert_told, said
from tests.training import small

from xlasr import api, cli, runs
from xlasr.cli.options import decode_settings
from xlasr.config import DecodeSettings, load_recipe, recipes
from xlasr.data.audio import write_wav
from xlasr.training.engine import Trainer

# Command -> what must be told; CS and NEW are options of conftest.py.
WRONG_CALLS = """
--debg -> No such option: --debg
evaluat ctc-run -> No such command 'evaluat' | Did you mean 'evaluate'
prepare mixed -> Missing argument 'corpus'
prepare mixed CS --langauge cs -> No such option: --langauge | --language
prepare mixd CS -> 'mixd' is neither a file or folder | fillets-cs
prepare filets-cs new -> 'filets-cs' is neither | Did you mean 'fillets-cs'
prepare mixed new -> which language is 'mixed' in? | --language cs
prepare mixed new --language xxxx -> unknown language tag 'xxxx' | such as 'cs'
prepare mixed CS --reader foldr -> unknown reader 'foldr'. Did you mean 'folder'
prepare mixed CS --group-by speakr -> by 'speakr' | Allowed: speaker
prepare mixed CS --share half -> --share takes SIDE=SHARE, such as train=8; found 'half'
prepare mixed CS --share test=1 -> more than 0 for train | not given stays empty
prepare mixed CS --column text=bar -> for tables, and this is read as 'folder'
prepare tables/old.csv CS --encoding u8x -> unknown encoding 'u8x'. Common ones: utf-8
prepare tables/semicolons.csv CS --delimiter semi -> delimiter 'semi' | semicolon, pipe
prepare tables/foreign.csv CS --column audio -> --column takes field=column; found 'audio'
prepare tables/foreign.csv CS --column audo=foo -> unknown field 'audo' | Did you mean 'audio'
prepare mixed tones --language cs -> /tones: a corpus is there already | --overwrite
prepare mixed whisper --language cs --overwrite -> /whisper: the folder is not empty
prepare mixed ctc.yaml --language cs -> ctc.yaml: a file or link is there
adapt -> give a corpus and --out RUN (or --resume RUN)
adapt tones NEW --seed -1 -> '--seed' | greater than or equal to 0
adapt tones NEW --threads 0 -> '--threads' | greater than or equal to 1
adapt tones NEW --base wisper-tiny.en -> unknown base | Did you mean 'whisper-tiny.en'
adapt tones NEW --base wav2vec2 --recipe seq2seq.yaml -> wav2vec2 model and serves ctc
adapt tones NEW --recipe whisper-ful -> unknown recipe 'whisper-ful'. Did you mean 'whisper-full'
adapt tones NEW --recipe no.yaml -> cannot read the recipe no.yaml
adapt tones NEW --recipe bad.yaml -> bad.yaml: 3 problems | batch_s: | 'optim'? | does not fit
adapt tones NEW --set adpt.batch_s=9 -> 1 problem | no stage 'adpt'. Did you mean 'adapt'?
adapt tones NEW --set adapt.optim.lrr=1 --set x -> 2 problems | Did you mean 'lr'? | 'x': write
adapt undeveloped NEW -> /undeveloped has no dev split
adapt --resume ctc-run --out new --recipe ctc --set a.b=1 -> leave out --recipe, --out, --set
evaluate ctc-run --split tst -> unknown split of tones 'tst'. Did you mean 'test' | train
evaluate ctc-run --beam 0 -> '--beam' | greater than or equal to 1
evaluate ctc-run --lm-order 2 --lm-text no.txt -> cannot read no.txt as UTF-8 text
evaluate ctc-run --lm-text ctc.yaml -> there is none; add --lm-order
evaluate ctc-run --length-bonus 1 -> --length-bonus is for a beam and this is greedy; add --beam
evaluate seq2seq-run --beam 2 --length-bonus 1 -> length_bonus is for ctc runs
evaluate seq2seq-run --beam 2 --one-a-frame -> one_a_frame is for transducers
transcribe ctc-run mixed/good.wav --aligner ctc-run -> an aligner is for the times | --words
transcribe ctc-run mixed/good.wav --max-hours 0 -> '--max-hours'
transcribe seq2seq-run mixed/good.wav --words -> a seq2seq model has no | --words --aligner RUN
transcribe seq2seq-run mixed/good.wav --words --aligner seq2seq-run --out new -> Give a CTC run
transcribe ctc-run mixed/good.wav --format srtt -> output format 'srtt'. Did you mean 'srt'
transcribe ctc-run mixed/page.wav broken/page.wav --out new -> broken/page.wav would both be written
transcribe ctc-run mixed/good.wav mixed/old.wav --format eaf -> one stream of eaf | --out FOLDER
export-corpus tones --out new --format ea -> unknown corpus format 'ea'. Did you mean 'eaf'
export-corpus tones --out new --split tets -> unknown split of tones 'tets'. Did you mean 'test'
export-corpus tones --out mixed -> /mixed: the folder is not empty
export-corpus tones --out tones/x -> /tones/x: lies in the corpus itself
export seq2seq-run --out new --format ctc2 -> export format 'ctc2'. Did you mean 'ct2'
export seq2seq-run --out tones -> tones exists
export seq2seq-run --out tones --format transformers -> tones exists
export ctc-run --out new --format onnx -> 'onnx'. Known: ct2, transformers
export ctc-run --out new -> 'ct2' takes seq2seq runs; ctc-run is a ctc run
"""
FAILURES = """
prepare empty CS -> /empty: no audio file in it | .wav
prepare mixed/good.wav CS -> good.wav: not a table | not a folder
prepare tables CS -> one .csv or .tsv is expected there; found: foreign.csv
prepare tables/semicolons.csv CS --delimiter , -> Columns found: 'audio;text' | --delimiter ';'
prepare tables/hashes.csv CS -> 'audio#text' | --delimiter CHARACTER
prepare tables/foreign.csv CS -> 'foo', 'bar' | --column audio=NAME --column text=NAME
prepare tables/foreign.csv CS --column audio=fo -> no column 'fo'. Did you mean 'foo'
adapt missing NEW -> /missing: not a corpus | xlasr prepare SOURCE
adapt ctc.yaml NEW -> ctc.yaml: not a corpus, it has no card.json
adapt edited NEW -> /train.jsonl: was changed | Prepare the corpus again
adapt tones NEW --base tones -> tones has no config.json | save_pretrained
adapt tones NEW --base pickled -> only pytorch_model.bin | a pickle | --base pickled --convert-bin
adapt tones NEW --out ctc-run -> ctc-run holds a run already | --resume ctc-run
adapt tones NEW --out whisper -> whisper is not empty and no run; give another --out
adapt tones NEW --out ctc.yaml -> ctc.yaml is a file; give another --out
adapt other --resume ctc-run -> begun on another corpus | /tones had sha256 | /other has
adapt --resume whisper -> whisper is no run of xlasr | xlasr adapt CORPUS --out RUN
adapt --resume garbled -> garbled/run.json is damaged | start a new run
adapt --resume blank -> blank/run.json is damaged | 'base'
adapt --resume illegible -> illegible/recipe.yaml | not YAML | start a new run
evaluate unfinished -> unfinished is not finished | --resume unfinished
evaluate ctc-run missing -> /missing: not a corpus
evaluate orphan -> the base of orphan | '/gone/base' | --no-base
transcribe ctc-run no.wav -> no.wav: no such file | 1 of 1 recordings were not transcribed
transcribe ctc-run mixed/page.wav -> page.wav: a text file, not audio | <html>
transcribe ctc-run mixed/good.wav --out ctc.yaml -> File exists: 'ctc.yaml'
export unfinished --out new -> unfinished is not finished
export-corpus mixed --out new -> /mixed: not a corpus
"""


def cases(text: str, code: int) -> Iterator[Any]:
    for line in text.strip().splitlines():
        command, told = line.split(" -> ")
        yield pytest.param(command, code, told.split(" | "), id=command)


@pytest.mark.parametrize(("line", "code", "told"), [*cases(WRONG_CALLS, 2), *cases(FAILURES, 1)])
def test_bad_input(xlasr: Command, home: Path, line: str, code: int, told: list[str]) -> None:
    before = set(home.rglob("*"))
    assert_told(xlasr(line), code, *told)
    assert set(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "kept", "told"),
    [
        ("mixed", 2, ["untold missing text no untold.txt beside HOME/mixed/untold.wav",
                      "unheard missing audio no audio file beside HOME/mixed/unheard.txt",
                      "page bad audio HOME/mixed/page.wav: a text file, not audio",
                      "old bad encoding HOME/mixed/old.txt: 'utf-8' codec can't decode"]),
        ("tables/missing.csv", 1, ["gone.wav missing audio missing.csv line 3: no file"]),
        ("tables/twice.csv", 1, ["x duplicate id twice.csv line 2 and twice.csv line 3"]),
        ("tables/old.csv", 1, ["old.csv line 3 bad encoding old.csv line 3: 'utf-8' codec can't"]),
        ("tables/quote.csv", 1, ["quote.csv line 2 bad row quote.csv line 2: ',' expected after"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(
    xlasr: Command, home: Path, tmp_path: Path, source: str, kept: int, told: list[str]
) -> None:
    result = xlasr(f"prepare {source} {tmp_path / 'corpus'} --language cs")
    assert_told(result, 0, *(words.replace("HOME", str(home)) for words in told))
    assert f" {len(told)} records cannot be used" in result.stderr
    saved = (tmp_path / "corpus/quarantine.jsonl").read_text("utf-8").splitlines()
    records = {json.loads(line)["record"].split()[0] for line in saved}
    assert records == {words.split()[0] for words in told}
    assert len(list((tmp_path / "corpus/audio").iterdir())) == kept


def test_not_one_usable_utterance(xlasr: Command, tmp_path: Path) -> None:
    saved = tmp_path / "corpus.quarantine.jsonl"
    result = xlasr(f"prepare broken {tmp_path / 'corpus'} --language cs")
    assert_told(result, 1, "broken: not one usable utterance", "1 bad audio", str(saved))
    assert len(saved.read_text("utf-8").splitlines()) == 3
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("corpus", "told"),
    [("hasty", "'train': 2 more symbols than frames"), ("lost", "-0.wav: no such file")],
)
def test_what_only_training_finds(xlasr: Command, tmp_path: Path, corpus: str, told: str) -> None:
    assert_told(xlasr(f"adapt {corpus} NEW --out {tmp_path / 'run'}"), 1, told)
    assert_told(xlasr(f"adapt --resume {tmp_path / 'run'}"), 1, told)


def test_one_bad_recording_does_not_stop_the_others(xlasr: Command, tmp_path: Path) -> None:
    files = "no.wav tones-audio/tones-dev-0.wav"
    result = xlasr(f"transcribe ctc-run {files} --format json --out {tmp_path}")
    assert_told(result, 1, "no.wav: no such file", "1 of 2 recordings were not transcribed")
    assert "segments" in json.loads((tmp_path / "tones-dev-0.json").read_text("utf-8"))


def test_longer_recordings_than_allowed(xlasr: Command, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    said(folder, "short", "abc")
    write_wav(folder / "long.wav", small.tones("abc" * 50, letter_s=0.3))
    (folder / "long.txt").write_text("abc")
    told = "allowed are 36 s"
    assert_told(xlasr(f"transcribe ctc-run {folder}/long.wav --max-hours 0.01"), 1, told)
    for more in ("", "--preview"):
        result = xlasr(f"prepare {folder} {tmp_path}/c --language cs --max-hours 0.01 {more}")
        assert told in result.stderr + result.stdout
        assert result.returncode == 0


def test_a_length_bonus_gives_more_letters(xlasr: Command, tmp_path: Path) -> None:
    run = shutil.copytree("ctc-run", tmp_path / "run", symlinks=True)
    letters = []
    for name, bonus in (("few", -2.5), ("many", 2.5)):
        line = f"evaluate {run} --no-base --beam 4 --length-bonus {bonus} --name {name}"
        assert xlasr(line).returncode == 0
        rows = (run / f"evaluations/{name}.tsv").read_text("utf-8").splitlines()[1:]
        letters.append(sum(len(row.split("\t")[2]) for row in rows))
        found = json.loads((run / f"evaluations/{name}.json").read_text("utf-8"))
        assert found["decode"]["length_bonus"] == bonus
    assert letters[0] < letters[1]


def test_without_a_language_model_nothing_makes_up_for_it() -> None:
    tuned = DecodeSettings(beam=8, lm_order=5, lm_weight=0.6, length_bonus=1.0)
    assert decode_settings(tuned, None, None, None, None, None) == tuned
    assert decode_settings(tuned, None, 0, None, None, None).length_bonus == 0
    assert decode_settings(tuned, None, 0, None, None, 0.5).length_bonus == 0.5


def test_a_base_of_pickled_weights_that_is_trusted(xlasr: Command, tmp_path: Path) -> None:
    line = f"adapt tones NEW --base pickled --out {tmp_path / 'run'}"
    assert_told(xlasr(line), 1, "--convert-bin")
    assert xlasr(f"{line} --convert-bin").returncode == 0
    facts = runs.read(tmp_path / "run")
    assert facts["base"]["name"] == str(Path("pickled").absolute())
    # its base is found again, for the comparison and to go on
    assert xlasr(f"adapt --resume {tmp_path / 'run'}").returncode == 0
    assert xlasr(f"evaluate {tmp_path / 'run'}").returncode == 0


def test_what_there_is_and_what_it_costs(xlasr: Command) -> None:
    assert "whisper-tiny.en en 37.8 M 76 MB MIT (OpenAI)" in xlasr("bases").stdout
    told = xlasr("recipes").stdout
    for name in ("ctc", "whisper-full", "whisper-lora", "whisper-synthetic"):
        recipe = load_recipe(name)
        assert f" {name} {recipe.family} " in told
        assert recipe.cost and recipe.cost in told and recipe.description in told


def test_names_are_whole_on_a_narrow_terminal(
    xlasr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = xlasr("recipes").stdout + xlasr("bases").stdout
    for name in [*(recipe.name for recipe in recipes()), "whisper-tiny.en"]:
        assert f" {name} " in told
    assert "…" not in told


def test_label_says_how_to_go_on(xlasr: Command, tmp_path: Path) -> None:
    told = xlasr(f"label ctc-run other --out {tmp_path}/labels --keep 1").stdout
    again = told.partition("train on both: xlasr ")[2].replace("CORPUS", "other")
    again = f"{again.replace('NEW_RUN', str(tmp_path / 'run'))} --base whisper --recipe ctc.yaml"
    assert xlasr(again).returncode == 0


def test_run_in_use_by_another_process(xlasr: Command, tmp_path: Path) -> None:
    run = shutil.copytree("ctc-run", tmp_path / "run", symlinks=True)
    holder = (
        "import sys; from pathlib import Path; from xlasr import runs\n"
        "with runs.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(run)]
    environment = {**os.environ, "PYTHONPATH": str(Path(runs.__file__).parents[1])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        told = f"{run} is in use by process {process.pid}; wait for it, stop it"
        assert_told(xlasr(f"adapt --resume {run}"), 1, told)
        process.kill()
    assert xlasr(f"adapt --resume {run}").returncode == 0


@pytest.mark.parametrize("left", [["recipe.yaml"], ["recipe.yaml", ".tmp-run.json"], []])
def test_what_a_kill_at_the_start_leaves_can_be_used_again(
    xlasr: Command, tmp_path: Path, left: list[str]
) -> None:
    for name in [*left, "notes.txt"]:
        (tmp_path / name).write_text("name: sm")
    line = f"adapt tones NEW --out {tmp_path}"
    assert_told(xlasr(line), 1, f"{tmp_path} is not empty and no run")
    (tmp_path / "notes.txt").unlink()
    assert xlasr(line).returncode == 0
    assert load_recipe(str(tmp_path / "recipe.yaml")) == load_recipe("ctc.yaml")


def ctrl_c(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def assert_stopped(result: Result, how: str) -> None:
    assert_told(result, 130, "stopped")
    assert "error:" not in result.stderr
    assert result.stderr.endswith(f"{how} "), result.stderr


def test_ctrl_c_in_training(
    xlasr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, run = Trainer._update, tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", lambda *a: (real(*a), signal.raise_signal(signal.SIGINT)))
        result = xlasr(f"adapt tones NEW --out {run} --seed 7")
    assert_stopped(result, f"saved at update 1. Go on with: xlasr adapt --resume {run}")
    assert_told(xlasr(f"evaluate {run}"), 1, f"{run} is not finished")
    monkeypatch.chdir(tmp_path)  # the base was given relative to another folder
    assert xlasr("adapt --resume run").returncode == 0
    assert api.open_run(run).summaries[0]["updates"] == 2


@pytest.mark.parametrize(
    ("line", "pressed_in"),
    [
        ("adapt tones NEW --out OUT", "xlasr.api.adapting.plan_stages"),
        ("adapt tones NEW --out OUT", "xlasr.api.adapting.run_stages"),
        ("prepare mixed OUT --language cs", "xlasr.data.arrange.choose_groups"),
        ("export seq2seq-run --out OUT", "shutil.copyfile"),
        ("export seq2seq-run --out OUT --format transformers", "shutil.copyfile"),
        ("transcribe ctc-run mixed/good.wav --out OUT", "xlasr.api.opened.transcribe_file"),
    ],
)
def test_ctrl_c_elsewhere_leaves_nothing_half_made(
    xlasr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, pressed_in: str
) -> None:
    line, begun = (
        line.replace("OUT", f"{tmp_path}/out"),
        pressed_in == "xlasr.api.adapting.run_stages",
    )
    with monkeypatch.context() as patch:
        patch.setattr(pressed_in, ctrl_c)
        result = xlasr(line)
    assert_stopped(result, f"xlasr adapt --resume {tmp_path}/out" if begun else "to begin again")
    assert any(path.is_file() for path in tmp_path.rglob("*")) == begun
    assert xlasr(f"adapt --resume {tmp_path}/out" if begun else line).returncode == 0


def test_debug_shows_the_traceback_and_keeps_the_exit_code(xlasr: Command) -> None:
    for line, code in (("--debug evaluate missing", 1), ("adapt tones --debug", 2)):
        assert_told(xlasr(line), code, "Traceback (most recent call last)", " error: ")


def test_what_the_system_refuses_is_told_and_a_bug_is_not_hidden(
    xlasr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(api, "adapt", fail)
    error: Exception = OSError(28, "No space left on device", "metrics.jsonl")
    told = "error: [Errno 28] No space left on device: 'metrics.jsonl' (--debug shows where)"
    assert_told(xlasr("adapt tones NEW"), 1, told)
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        xlasr("adapt tones NEW")


COMMANDS: dict[str, Any] = vars(typer.main.get_command(cli.app))["commands"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(xlasr: Command, name: str) -> None:
    first = " ".join(COMMANDS[name].help.split("\n\n")[0].split())
    assert f" {name} {first} " in xlasr("--help").stdout
    result = xlasr(f"{name} --help")
    assert (result.returncode, result.stderr) == (0, "")
    for parameter in COMMANDS[name].params:
        assert parameter.help and parameter.help in result.stdout
        for option in parameter.opts:
            assert re.search(rf" {option}(\.\.\.)? ", result.stdout), option


def test_no_command_shows_the_help(xlasr: Command) -> None:
    result = xlasr("")
    assert result.returncode == 2 and "--debug for a traceback" in result.stdout


def test_waiting_threads_sleep_unless_somebody_says_otherwise() -> None:
    code = (
        "import os, sys\nsys.argv = ['xlasr', 'bases']\nfrom xlasr.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        plain = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=plain | given, capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == expected
