"""A home with everything the commands need, and a way to call them in it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.cli.home import Command, Result, write_corpora, write_runs, write_sources

from xlasr import cli

CS = "new --language cs"
NEW = "--out new --base whisper --recipe ctc.yaml --threads 1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything the commands need, good and bad; tests leave it as it is."""
    home = tmp_path_factory.mktemp("home")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLASR_CACHE", str(tmp_path_factory.mktemp("cache")))
        for write in (write_sources, write_corpora, write_runs):
            write(home)
        yield home
    torch.set_num_threads(threads)


@pytest.fixture
def xlasr(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command line in ``home``; white space and the lines of tables become one space."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "2000")

    def run(line: str) -> Result:
        words = shlex.split(line.replace("CS", CS).replace("NEW", NEW))
        monkeypatch.setattr(sys, "argv", ["xlasr", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = (re.sub(r"[\s─-╿]+", " ", text) for text in capsys.readouterr())
        assert ("Traceback" in err) == ("--debug" in words)
        assert isinstance(end.value.code, int)
        return Result(line, end.value.code, out, err)

    return run
