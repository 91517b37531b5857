"""The way through the house: what may import what, what is never called, and what stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xlasr

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
FILES = sorted((SRC / "xlasr").rglob("*.py"))
BESIDE = sorted(path for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*.py"))

# Data flows one way: a package imports only packages to its left.
PIPELINE = (
    "data scoring features models adaptation decoding alignment objectives training diagnosis "
    "reporting exporters serving"
).split()
FOUNDATION = {"errors", "registry", "files", "config"}  # below all: import only each other
TOP = {"api", "runs", "demo", "cli", "__init__", "__main__"}  # above all
HEAVY = ("torch", "transformers", "lhotse", "matplotlib", "onnxruntime", "scipy", "peft")
MAX_LINES = 400

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "torchaudio"}
FORBIDDEN_CALLS = {
    "torch.load": "safetensors and JSON only",
    "yaml.load": "yaml.safe_load",
    "yaml.unsafe_load": "yaml.safe_load",
    "os.system": "subprocess.run with a list",
    "eval": "no code from data",
    "exec": "no code from data",
}
FORBIDDEN_METHODS = {"extractall": "read the members one by one"}
# where a person asked for it, in a process of its own, and only with weights_only=True
OPENS_PICKLES = SRC / "xlasr/models/bin_weights.py"


def module_of(path: Path) -> list[str]:
    parts = list(path.relative_to(SRC).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, wherever it stands; relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def place(name: str) -> int | None:
    """Where a name below xlasr stands from left to right; None for names that are not xlasr's."""
    parts = name.split(".")
    if parts[0] != "xlasr":
        return None
    part = parts[1] if len(parts) > 1 else "__init__"
    if part in FOUNDATION:
        return -1
    return PIPELINE.index(part) if part in PIPELINE else len(PIPELINE)


def leftward(source: str, module: list[str], is_package: bool = False) -> list[str]:
    """Return the imports of ``source`` that point to the right."""
    own = place(".".join(module))
    package = module if is_package else module[:-1]
    wrong = []
    for line, name in imported(ast.parse(source), package):
        there = place(name)
        if own is not None and there is not None and there > own:
            wrong.append(f"line {line}: {'.'.join(module)} imports {name}")
    return wrong


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def forbidden(source: str, opens_pickles: bool = False) -> list[str]:
    """Return what ``source`` does that the package must never do."""
    tree, wrong = ast.parse(source), []
    for line, name in imported(tree, []):
        if name.split(".")[0] in FORBIDDEN_MODULES:
            wrong.append(f"line {line}: imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            wrong.append(f"line {node.lineno}: assert (bad input needs an exception)")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"line {node.lineno}: bare except")
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            advice = FORBIDDEN_CALLS.get(name) or FORBIDDEN_METHODS.get(name.split(".")[-1])
            restricted = name == "torch.load" and any(
                k.arg == "weights_only"
                and isinstance(k.value, ast.Constant)
                and k.value.value is True
                for k in node.keywords
            )
            if advice and not (opens_pickles and restricted):
                wrong.append(f"line {node.lineno}: {name}(): {advice}")
            for keyword in node.keywords:
                value = keyword.value
                true = isinstance(value, ast.Constant) and value.value is True
                if keyword.arg in ("shell", "allow_pickle") and true:
                    wrong.append(f"line {node.lineno}: {keyword.arg}=True")
    return wrong


def test_the_check_sees_what_it_should() -> None:
    inner = "def f():\n    from xlasr.training.engine import run\n"
    assert leftward(inner, ["xlasr", "decoding", "ctc"]) == [
        "line 2: xlasr.decoding.ctc imports xlasr.training.engine.run"
    ]
    assert leftward("from ..models import ctc", ["xlasr", "data", "audio"])
    assert leftward("from . import models", ["xlasr"], is_package=True) == []
    assert leftward("import xlasr", ["xlasr", "data", "audio"])
    assert leftward("from xlasr.data import audio", ["xlasr", "errors"])
    assert leftward("from xlasr.data import audio\nimport numpy", ["xlasr", "models", "x"]) == []
    planted = (
        "import pickle\nassert x\ntry:\n  torch.load(p)\nexcept:\n  z.extractall(d)\n"
        "subprocess.run(c, shell=True)\nnp.load(p, allow_pickle=True)\n"
    )
    assert [w.split(":")[0] for w in sorted(forbidden(planted))] == [
        f"line {n}" for n in (1, 2, 4, 5, 6, 7, 8)
    ]
    assert forbidden("torch.load(p, weights_only=True)")
    assert forbidden("torch.load(p, weights_only=True)", opens_pickles=True) == []
    for careless in ("torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, x)"):
        assert forbidden(careless, opens_pickles=True)
    assert forbidden("yaml.safe_load(f)\nsubprocess.run(c, check=True)\nnp.load(p)") == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_file_keeps_the_house_rules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    wrong = leftward(source, module_of(path), path.name == "__init__.py")
    wrong += forbidden(source, opens_pickles=path == OPENS_PICKLES)
    assert not wrong, "\n".join(wrong)


def test_no_file_is_too_long() -> None:
    assert {ROOT / "tests/tiny.py", ROOT / "benchmarks/pipeline.py"} <= set(BESIDE)
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in [*FILES, *BESIDE]}
    long = [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > MAX_LINES]
    assert not long, f"more than {MAX_LINES} lines, split: {', '.join(long)}"


def test_every_package_has_its_place() -> None:
    found = {path.relative_to(SRC / "xlasr").parts[0].removesuffix(".py") for path in FILES}
    homeless = found - set(PIPELINE) - FOUNDATION - TOP
    assert not homeless, f"not in the pipeline: {sorted(homeless)}"


def test_help_is_light() -> None:
    # in its own process: this one has loaded everything by now
    code = (
        "import sys\n"
        "sys.argv = ['xlasr', '--help']\n"
        "from xlasr.cli import main\n"
        "try:\n    code = main()\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "print('HEAVY', heavy)\n"
        "sys.exit(code or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert "adapt" in done.stdout
    assert "HEAVY []" in done.stdout, done.stdout[-300:]


def test_no_verb_has_the_name_of_a_package() -> None:
    # `import xlasr.NAME` would put the module where the function is looked for
    places = {path.relative_to(SRC / "xlasr").parts[0].removesuffix(".py") for path in FILES}
    assert not places & set(xlasr.__all__)
