"""What the tests of the command line share: folders, good and bad, and what must be told."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.training import small

from xlasr import api
from xlasr.config import dump_recipe
from xlasr.data.audio import write_wav

Result = subprocess.CompletedProcess[str]
Command = Callable[[str], Result]


def said(folder: Path, name: str, text: str | None = "abc") -> None:
    """A recording, and its transcript unless there is none."""
    folder.mkdir(exist_ok=True)
    write_wav(folder / f"{name}.wav", small.tones("abc", seed=sum(map(ord, name))))
    if text is not None:
        (folder / f"{name}.txt").write_text(text, encoding="cp1250")


def write_sources(home: Path) -> None:
    """Recordings and transcripts as people have them."""
    for name in "abc":
        said(home / "tables", name, None)
    for name, text in {
        "missing": "audio,text\na.wav,abc\ngone.wav,fed\n",
        "twice": "id,audio,text\nx,a.wav,abc\nx,b.wav,fed\n",
        "old": "audio,text\na.wav,abc\nb.wav,žluť\n",
        "semicolons": "audio;text\na.wav;abc\n",
        "hashes": "audio#text\na.wav#abc\n",
        "foreign": "foo,bar\na.wav,abc\n",
        "quote": 'audio,text\na.wav,"abc"d"\nb.wav,fed\n',
    }.items():
        (home / f"tables/{name}.csv").write_text(text, encoding="cp1250")
    for name, text in {"good": "abc", "better": "fed", "old": "žluť"}.items():
        said(home / "mixed", name, text)
    for folder in (home / "mixed", home / "broken"):
        said(folder, "untold", None)
        (folder / "unheard.txt").write_text("bad")
        (folder / "page.txt").write_text("bad")
        (folder / "page.wav").write_text("<html>")
    (home / "empty").mkdir()


def write_corpora(home: Path) -> None:
    """Whole corpora, and some that nobody can train on."""
    small.write_speech(home / "tones", test=["dab", "cad"])
    small.write_speech(home / "other", train=["abc", "cab"], dev=["bac"])
    small.write_speech(home / "undeveloped", dev=[])
    small.write_speech(home / "lost")
    shutil.rmtree(home / "lost-audio")
    (home / "hasty-audio").mkdir()
    hasty = [small.utterance(home / "hasty-audio", n, "abc " * 99, small.tones("a")) for n in "ab"]
    small.write_speech(home / "hasty", train=hasty)
    shutil.copytree(home / "tones", home / "edited")
    with (home / "edited/train.jsonl").open("a") as file:
        file.write("{}\n")


def write_runs(home: Path) -> None:
    """Bases, recipes and finished runs, an unfinished one, and damaged ones."""
    small.write_whisper(home / "whisper")
    small.write_wav2vec2(home / "wav2vec2")
    small.write_wav2vec2(home / "pickled")
    weights = load_file(home / "pickled/model.safetensors")
    torch.save(weights, home / "pickled/pytorch_model.bin")
    (home / "pickled/model.safetensors").unlink()
    for family in ("ctc", "seq2seq"):
        stage = small.stage(family, stop={"updates": 2}, evaluate={"every": 2})
        plan, base = small.recipe(family, stage), str(home / "whisper")
        (home / f"{family}.yaml").write_text(dump_recipe(plan), encoding="utf-8")
        api.adapt(home / "tones", base=base, recipe=plan, out=home / f"{family}-run", threads=1)
    (home / "bad.yaml").write_text(
        "{name: bad, family: ctc, stages: [{name: adapt, objectives: [{kind: cross_entropy}],"
        " optimm: {lr: 0.001}, batch_s: -1, stop: {updates: 2}}]}"
    )
    facts = (home / "ctc-run/run.json").read_text()
    for name, file, text in (
        ("garbled", "run.json", '{"seed": '),
        ("blank", "run.json", "{}"),
        ("orphan", "run.json", facts.replace(str(home / "whisper"), "/gone/base")),
        ("illegible", "recipe.yaml", "name: [small"),
        ("unfinished", "model", None),
    ):
        path = shutil.copytree(home / "ctc-run", home / name, symlinks=True) / file
        path.unlink() if text is None else path.write_text(text)


def assert_told(result: Result, code: int, *told: str) -> None:
    assert result.returncode == code, result
    for words in told:
        assert words in result.stderr, result.stderr
