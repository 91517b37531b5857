"""``xlasr transcribe --stream``: files and pipes, partial and final texts, Ctrl-C, what is told."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.home import Command, assert_told
from tests.training import small

import xlasr
from xlasr import api
from xlasr.data.audio import to_int16, write_wav

CLIP = np.concatenate([small.tones("abc fed bad"), small.tones(" " * 12), small.tones("cab")])


@pytest.fixture(scope="module")
def live(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on an Emformer whose random head writes letters; and a recording."""
    folder = tmp_path_factory.mktemp("live")
    base = small.write_emformer(folder / "base")
    stage = small.stage("ctc", stop={"updates": 2}, evaluate={"every": 2})
    recipe = small.recipe("ctc", stage)
    api.adapt(home / "tones", base=str(base), recipe=recipe, out=folder / "run", threads=1)
    weights = folder / "run/model/model.safetensors"
    state = load_file(weights)
    state["head.weight"] = torch.randn(
        state["head.weight"].shape, generator=torch.Generator().manual_seed(1)
    )
    save_file(state, weights, metadata={"format": "pt"})
    write_wav(folder / "a.wav", CLIP)
    return folder


def expected(live: Path, **options: Any) -> list[dict[str, Any]]:
    stream = api.open_run(live / "run", **options).stream()
    samples = to_int16(CLIP).astype(np.float32) / 32768
    return [h.as_json() for h in stream.push(samples) + stream.flush()]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in re.findall(r"\{\"kind.*?\]\}(?= |$)", text)]


def test_json_lines_of_a_file(xlasr: Command, live: Path) -> None:
    wanted = expected(live)
    assert {line["kind"] for line in wanted} == {"partial", "final"}
    for more in ("", "--block-ms 7"):
        result = xlasr(f"transcribe {live}/run {live}/a.wav --stream --json {more}")
        assert result.returncode == 0, result
        assert lines(result.stdout) == wanted
    length_s = len(CLIP) / 16_000
    assert f"{length_s:.1f} s of audio" in result.stderr
    assert "215 ms (segment 160 + look-ahead 40 + window 15)" in result.stderr
    assert re.search(r"p95 [\d.]+, longest [\d.]+\); real-time factor \d", result.stderr)


def test_final_texts_alone_where_nobody_watches(xlasr: Command, live: Path) -> None:
    result = xlasr(f"transcribe --stream {live}/run {live}/a.wav")
    wanted = [line["text"] for line in expected(live) if line["kind"] == "final"]
    assert result.stdout.split() == " ".join(wanted).split()


def test_a_line_that_is_overwritten_on_a_terminal(
    xlasr: Command, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    written = xlasr(f"transcribe --stream {live}/run {live}/a.wav").stdout
    shown = [" ".join(text.split()) for text in written.split("\x1b[K")[1:]]
    assert shown == [" ".join(line["text"].split()) for line in expected(live)]


def test_a_pipe(xlasr: Command, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (to_int16(CLIP).tobytes(), (live / "a.wav").read_bytes()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        result = xlasr(f"transcribe --stream --json {live}/run -")
        assert result.returncode == 0, result
        assert lines(result.stdout) == expected(live)


def test_8_bits(xlasr: Command, live: Path) -> None:
    result = xlasr(f"transcribe --stream --json --int8 {live}/run {live}/a.wav")
    assert lines(result.stdout) == expected(live, int8=True)
    assert api.open_run(live / "run", int8=True).model.encoder.layer_modules()[
        0
    ].fc1.weight.dtype == (torch.int8)


def test_a_pipe_that_breaks_gives_what_was_heard(
    xlasr: Command, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = io.BytesIO(to_int16(CLIP).tobytes() + b"x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(broken))
    result = xlasr(f"transcribe --stream --json {live}/run -")
    assert_told(result, 1, "within a sample", "real-time factor")
    assert lines(result.stdout) == expected(live)


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        ("--stream ctc-run {}/a.wav", 1, "hears whole clips and cannot stream"),
        ("--stream seq2seq-run -", 1, "emformer-small or emformer-20"),
        ("--stream {0}/run {0}/a.wav {0}/a.wav", 2, "one recording"),
        ("--stream {0}/run -  --pace", 2, "--pace is for files"),
        ("--stream {0}/run - --max-hours 1", 2, "--max-hours is for files"),
        ("--stream {0}/run {0}/a.wav --format srt --words", 2, "--format, --words is not for"),
        ("{0}/run {0}/a.wav --json --block-ms 9", 2, "--json, --block-ms is for --stream only"),
        ("--stream {0}/run {0}/a.wav --block-ms 0", 2, "--block-ms': Input should be"),
        ("--stream {0}/run {0}/a.wav --pause-s 0", 2, "--pause-s': Input should be"),
        ("--stream {0}/run {0}/gone.wav", 1, "gone.wav"),
    ],
)
def test_what_is_refused(xlasr: Command, live: Path, call: str, code: int, told: str) -> None:
    assert_told(xlasr(f"transcribe {call.format(live)}"), code, told)


def test_ctrl_c_finishes_what_was_heard(live: Path) -> None:
    """A real pipe that stays open: partial texts come before it ends, the final one behind ^C."""
    stream = api.open_run(live / "run").stream()
    samples = to_int16(CLIP).astype(np.float32) / 32768
    partial, n = [], 0
    while len(partial) < 3:  # the last of them needs the last sample
        longer = n + 2560 if n else 3440
        found = stream.push(samples[n:longer])
        n, partial = longer, partial + [h.as_json() for h in found]
    assert found
    final = [h.as_json() for h in stream.flush()]
    environment = {**os.environ, "PYTHONPATH": str(Path(xlasr.__file__).parents[1])}
    call = [sys.executable, "-m", "xlasr", "transcribe", "--stream", "--json", f"{live}/run", "-"]
    with subprocess.Popen(
        call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdin and running.stdout and running.stderr
        running.stdin.write(to_int16(CLIP[:n]).tobytes())
        running.stdin.flush()
        before = [json.loads(running.stdout.readline()) for _ in partial]
        running.send_signal(signal.SIGINT)
        rest, told = running.stdout.read().decode(), running.stderr.read().decode()
        running.stdin.close()
    assert running.returncode == 130, told
    assert before == partial
    assert [json.loads(line) for line in rest.splitlines()] == final
    assert "stopped; what was heard until then is written" in told
    assert f"{n / 16_000:.1f} s of audio" in told
