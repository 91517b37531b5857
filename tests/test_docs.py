"""The documentation: every command line in it is one, and every layout and format stands in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from xlasr import cli
from xlasr.data.annotations import FORMATS
from xlasr.data.archives import SUFFIXES
from xlasr.data.readers import OPTIONS, READERS, SOURCES
from xlasr.exporters.corpus import CORPUS_FORMATS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: dict[str, Any] = vars(typer.main.get_command(cli.app))["commands"]

_BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_CALL = re.compile(r"(?:^|[\s;(])xlasr ([^;#>|&]*)")


def in_blocks(text: str) -> Iterator[str]:
    """Yield what stands behind ``xlasr`` on every command line of a page's blocks of code."""
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if "import xlasr" not in line:
                yield from _CALL.findall(line)


def in_text(text: str) -> Iterator[str]:
    """Yield the same of code in running text, which may leave parts out."""
    for code in _INLINE.findall(_BLOCK.sub("", text)):
        if call := _CALL.match(code):
            yield call[1]


def problem(call: str, *, whole: bool) -> str:
    """Read a command line as the program would, without doing anything; say what is wrong."""
    name, *rest = [word for word in shlex.split(call) if word not in ("...", "FILE...")]
    if name not in COMMANDS:
        return "" if name == "--help" else f"no command {name}"
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    options |= {option for p in COMMANDS[name].params for option in p.secondary_opts}
    unknown = [word for word in rest if word.startswith("--") and word not in options]
    if unknown or not whole:
        return f"{name} has no {unknown}" if unknown else ""
    try:
        COMMANDS[name].make_context(name, rest)
    except Exception as error:
        return repr(error)
    return ""


def test_the_check_sees_what_it_should() -> None:
    page = "`xlasr plan\n--text T` and `xlasr`\n```\nxlasr a b  # c\nx; xlasr d \\\n  e > f\n```\n"
    assert [" ".join(call.split()) for call in in_blocks(page)] == ["a b", "d e"]
    assert [" ".join(call.split()) for call in in_text(page)] == ["plan --text T"]
    assert not problem("plan --text T", whole=False) and problem("plan --text T", whole=True)
    for wrong in ("prepare a b --langauge cs", "evaluat run"):
        assert problem(wrong, whole=False) and problem(wrong, whole=True)
    for wrong in ("align run a.wav", "adapt c --seed x"):
        assert problem(wrong, whole=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_is_one(page: Path) -> None:
    text = page.read_text("utf-8")
    found = [(call, True) for call in in_blocks(text)] + [(call, False) for call in in_text(text)]
    wrong = [f"xlasr {c}: {told}" for c, whole in found if (told := problem(c, whole=whole))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_line_of_a_help_text_is_one(name: str) -> None:
    calls = re.findall(r"(?:^|: |\()xlasr ([^)\n]*)", COMMANDS[name].help, re.MULTILINE)
    assert not [told for call in calls if (told := problem(call, whole=False))]


def test_the_layouts_page_is_complete() -> None:
    page = (ROOT / "docs/layouts.md").read_text("utf-8")
    formats = {*FORMATS, *CORPUS_FORMATS}
    names = {*READERS, *formats, *SUFFIXES, *(f"--{o.replace('_', '-')}" for o in OPTIONS)}
    names -= {"--tiers", "--channels"}
    names |= {"--tier", "--channel"}
    missing = sorted(n for n in names if not re.search(rf"(`|^### ){re.escape(n)}\b", page, re.M))
    assert not missing
    sources = re.search(r"xlasr prepare fillets-cs .*\n.*", page)
    assert sources is not None
    for name in SOURCES:
        stem, _, language = name.rpartition("-")
        assert name in sources[0] or (f"-{language}" in sources[0] and stem in sources[0]), name
    rows = [line for line in page.splitlines() if re.match(r"\| `\w+` \|.*\|.*\|.*\|.*\|$", line)]
    told = {row.split("`")[1]: [cell.strip() for cell in row.split("|")] for row in rows}
    for name in formats:
        assert (told[name][4] != "-") == (name in FORMATS), name
        assert (told[name][5] != "-") == (name in CORPUS_FORMATS), name


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
