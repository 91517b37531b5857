"""The doctor's page on the terminal: what ``xlasr check`` prints."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from xlasr.diagnosis.findings import SEVERITIES, Diagnosis, Finding, count, few
from xlasr.diagnosis.repair import Repair
from xlasr.reporting.formatting import number

_STYLES = {"blocking": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_NAMED = 4
"""Records named on the page; all are in the JSON."""
_ROW = 200
"""Characters of a transcript among the suspects."""


def show_diagnosis(console: Console, diagnosis: Diagnosis, suspects: int = 20) -> None:
    """Print a diagnosis: findings, worst first; what was in order; what was not looked at.

    Args:
        console: Where to.
        diagnosis: Of ``diagnosis.check``.
        suspects: How many of the suspects to show.
    """
    _say(console, Text(f"corpus {diagnosis.corpus}", style="bold"))
    _say(console, Text(diagnosis.title))
    for finding in diagnosis.findings:
        _show(console, finding)
    counts = diagnosis.counts()
    words = {"blocking": "blocking", "warning": "warning", "note": "note"}
    told = ", ".join(
        f"{counts[s]} blocking" if s == "blocking" else count(counts[s], words[s])
        for s in SEVERITIES
    )
    _say(
        console, Text.assemble("\n", (told, _STYLES["blocking"] if counts["blocking"] else "bold"))
    )
    if diagnosis.passed:
        _say(console, Text(f"in order: {', '.join(diagnosis.passed)}", style="green"))
    reasons: dict[str, list[str]] = {}
    for entry in diagnosis.skipped:
        name, _, reason = entry.partition(": ")
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        _say(console, Text(f"not looked at, {reason}: {', '.join(names)}", style="dim"))
    if any(finding.fixable for finding in diagnosis.findings):
        _say(console, Text("[--fix] marks what --fix NEW_CORPUS repairs, in a copy", style="dim"))
    limits = ", ".join(f"{k} {v:g}" for k, v in asdict(diagnosis.thresholds).items())
    _say(console, Text(f"limits (why: xlasr.diagnosis.thresholds): {limits}", style="dim"))
    if diagnosis.suspects is not None:
        _show_suspects(console, diagnosis, suspects)


def _say(console: Console, text: Text) -> None:
    console.print(text, highlight=False)


def _show(console: Console, finding: Finding) -> None:
    head = Text.assemble("\n", (finding.severity.upper(), _STYLES[finding.severity]), "  ")
    head.append(finding.name, style="bold")
    if finding.fixable:
        head.append("  [--fix]", style="dim")
    _say(console, head)
    body = Text(finding.message)
    if finding.records:
        body.append(f"\n{few((f'{r.split}/{r.id}' for r in finding.records), _NAMED)}", style="dim")
    if finding.advice:
        body.append(f"\n-> {finding.advice}", style="italic")
    console.print(Padding(body, (0, 0, 0, 2)), highlight=False)


def _show_suspects(console: Console, diagnosis: Diagnosis, shown: int) -> None:
    ranked = diagnosis.suspects or []
    _say(
        console, Text(f"\nsuspects: the worst {min(shown, len(ranked))} of {len(ranked):,}", "bold")
    )
    if diagnosis.suspects_note:
        _say(console, Text(diagnosis.suspects_note, style="yellow"))
    for entry in ranked[:shown]:
        head = Text(f"{number(entry.score, 2):>7}  ", style="bold")
        head.append(f"{entry.split}/{entry.id}", style="dim")
        _say(console, head)
        both = Text.assemble(("text  ", "dim"), entry.text[:_ROW], "\n")
        both.append("heard ", style="dim").append(entry.heard[:_ROW])
        console.print(Padding(both, (0, 0, 0, 9)), highlight=False)
    _say(console, Text("listen to these: is the text what is said? 0 is a perfect fit", "dim"))


def show_repair(console: Console, repair: Repair, left: Diagnosis) -> None:
    """Print what was changed, and what a second look at the new corpus found.

    Args:
        console: Where to.
        repair: Of ``Diagnosis.repair``.
        left: The diagnosis of the new corpus.
    """
    _say(console, Text(f"\nrepaired: {repair.corpus.path}", style="bold"))
    for kind, n in repair.counts.items():
        _say(console, Text(f"  {n:,} x {kind}"))
    if not repair.counts:
        _say(console, Text("  nothing to repair"))
    _say(console, Text(f"  every change: {repair.file}"))
    counts = left.counts()
    told = [count(counts["warning"], "warning"), count(counts["note"], "note")]
    _say(console, Text(f"a second look: {counts['blocking']} blocking, {', '.join(told)}"))
    for finding in left.blocking:
        _show(console, finding)
