"""``xlasr demo``: the main job on real speech, with what it costs said beforehand."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

SOURCE = "fillets-cs"
RECIPE = "ctc"
SHORTER = ("adapt.batch_s=15", "adapt.stop.updates=2000", "adapt.evaluate.every=400")
"""The recipe's 3,000 updates of 30 s in half of the time: 12 minutes on two cores.

Small batches, because CTC leaves its all-blank plateau after a number of updates, not of hours:
with 1,200 updates of 30 s it stayed there for 480 of them and ended at 34.7 % CER on dev.
"""


def run_demo(folder: Path) -> None:
    """Prepare real Czech speech, adapt a real Whisper, score both, transcribe, write a report.

    Steps that are done already are not done again, so an interrupted demo goes on.

    Args:
        folder: Gets ``corpus`` and ``run``.
    """
    from xlasr import api
    from xlasr.data import Corpus, prepare
    from xlasr.data.annotations import AnnotatedRecording, render
    from xlasr.reporting.tables import show_run
    from xlasr.reporting.terminal import show_evaluation

    console = Console()
    console.print(
        "[bold]xlasr demo[/bold]: Whisper tiny.en has never heard Czech. It gets 65 minutes of "
        "it (real actors, free licence), and then transcribes scenes it was not trained on.\n"
        "On two cores this takes about 16 minutes after the downloads (about 220 MB). Expect a "
        "character error rate of about 20 %, down from about 88 % for the unadapted base; the "
        "full recipe trains 2.5 times as long, and more text of the language helps further "
        "(docs/RESULTS.md). Ctrl-C stops it; the same command goes on from there.\n",
        highlight=False,
    )
    corpus_folder, run_folder = folder / "corpus", folder / "run"
    if (corpus_folder / "card.json").exists():
        corpus = Corpus.open(corpus_folder)
        console.print(f"1. corpus: {corpus_folder} is there")
    else:
        console.print("1. prepare: fetch recordings, check every file, split by scene")
        corpus = prepare(SOURCE, corpus_folder)
    if (run_folder / "model").exists():
        console.print(f"2. adapt: {run_folder} is finished")
        run = api.open_run(run_folder)
    else:
        console.print("2. adapt: Whisper's encoder and a new head of Czech letters")
        begun = (run_folder / "run.json").exists()
        run = api.adapt(
            corpus.path,
            recipe=RECIPE,
            overrides=[] if begun else list(SHORTER),
            out=None if begun else run_folder,
            resume=run_folder if begun else None,
            console=console,
        )
    show_run(console, run.folder, run.facts)
    console.print("3. evaluate: base and adapted model on the test scenes")
    result = run.evaluate(split="test", console=console)
    show_evaluation(console, result, lines=3)
    longest = max(corpus.split("test"), key=lambda u: u.duration_s)
    console.print(f"4. transcribe: {longest.audio.name}, as subtitles")
    heard = AnnotatedRecording(longest.audio, list(run.transcribe(longest.audio)))
    console.print(render("srt", [heard]), highlight=False)
    console.print(f"what was said: {longest.text}", highlight=False)
    console.print(f"report: [bold]{run.folder / 'report.html'}[/bold]", highlight=False)
