"""An evaluation on the terminal: what ``xlasr evaluate`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from xlasr.reporting import lines as selection
from xlasr.reporting.comparison import notes
from xlasr.reporting.formatting import per_cent, whole
from xlasr.reporting.scorecard import show_section
from xlasr.reporting.sections import of_evaluation
from xlasr.reporting.tables import marked, score_table, verdict
from xlasr.scoring import UtteranceScore

if TYPE_CHECKING:
    from xlasr.reporting.evaluation import Evaluation


def show_evaluation(console: Console, evaluation: Evaluation, lines: int = 5) -> None:
    """Print a split's scores, its worst and best lines, and what a person should know.

    Args:
        console: Where to.
        evaluation: Of ``evaluate_model``.
        lines: Worst and best lines shown; 0 is none.
    """
    adapted = evaluation.adapted
    groups = len(adapted.per_group("cer")[0])
    rows = evaluation.rows
    title = (
        f"{evaluation.split}: {whole(len(adapted.utterances))} utterances, {whole(groups)} groups"
    )
    if adapted.normaliser != "headline":
        title += f"; normaliser {adapted.normaliser} v{adapted.normaliser_version}"
    console.print(score_table(rows, title))
    for note in [*evaluation.notes, *notes(rows)]:
        console.print(Text.assemble(("note: ", "bold"), note))
    for row in rows:
        if row.paired is not None:
            console.print(
                Text.assemble((f"{row.name}: ", "bold"), verdict(row), " against the base")
            )
    if evaluation.speed is not None:
        factor = evaluation.speed.real_time_factor
        console.print(
            f"real-time factor {factor:.3f}: {evaluation.speed.wall_s / 60:.1f} min for"
            f" {evaluation.speed.audio_s / 60:.1f} min of speech, on this machine",
            highlight=False,
        )
    if evaluation.loops or evaluation.empty:
        console.print(
            f"{evaluation.loops} hypotheses repeated themselves and were cut; "
            f"{evaluation.empty} are empty",
            highlight=False,
        )
    for event in evaluation.events:
        text = Text(f"{event['guard']}: ", style="bold red")
        text.append(f"{event['message']}; {event['action']}", style="not bold default")
        console.print(text)
    for section in of_evaluation(evaluation):
        show_section(console, section)
    if lines > 0:
        _show_lines(console, "worst lines", adapted.worst(lines), evaluation)
        _show_lines(console, "best lines", adapted.best(lines), evaluation)
        console.print(Text("[-missing] [+too much] [heard|said]", style="dim"), highlight=False)


def _show_lines(
    console: Console, title: str, chosen: list[UtteranceScore], evaluation: Evaluation
) -> None:
    console.print(Text(f"\n{title}", style="bold"))
    metric = selection.alignment_metric(evaluation.adapted)
    for line in selection.lines(chosen, evaluation.base, metric):
        head = Text(f"{per_cent(line.utterance.cer):>8} CER  ", style="bold")
        head.append(line.utterance.id, style="dim")
        console.print(head)
        console.print(marked(line.ops, "" if metric == "cer" else " "), soft_wrap=True)
