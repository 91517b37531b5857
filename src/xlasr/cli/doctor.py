"""The commands that examine: check (a corpus), probe (an encoder)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xlasr.errors import UsageError


def check(
    corpus: Annotated[Path, typer.Argument(help="corpus folder (xlasr prepare)")],
    base: Annotated[
        str | None, typer.Option(help="the base to adapt: can it hold letters and clips?")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="the recipe to adapt it with")] = None,
    pieces: Annotated[
        int | None, typer.Option(min=1, help="size of a SentencePiece vocabulary to check")
    ] = None,
    audio: Annotated[bool, typer.Option(help="listen to every clip, once")] = True,
    fix: Annotated[Path | None, typer.Option(help="new corpus with the safe repairs")] = None,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="rank transcripts that do not fit the sound")
    ] = False,
    run: Annotated[Path | None, typer.Option(help="finished CTC run for --suspects")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="sides to rank; default: all of them")
    ] = None,
    lines: Annotated[int, typer.Option(min=0, help="suspects to show")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """Look for what spoils a training, before it begins. Exit code 1 if something forbids it."""
    from rich.console import Console

    from xlasr.diagnosis import check as examine
    from xlasr.reporting.diagnosis import show_diagnosis, show_repair

    if suspects != (run is not None):
        raise UsageError("--suspects takes a finished CTC run, and --run is for it: give both")
    if split and not suspects:
        raise UsageError("--split is for --suspects; the checks look at every side")
    if fix is not None:
        from xlasr.data.writing import check_target

        check_target(fix.absolute(), overwrite=False)  # before minutes of listening
    console = Console()
    diagnosis = examine(
        corpus,
        base=base,
        recipe=recipe,
        pieces=pieces,
        audio=audio,
        run=run,
        suspect_splits=split or (),
        progress=True,
    )
    facts = diagnosis.to_dict()
    if not as_json:
        show_diagnosis(console, diagnosis, lines)
    code = diagnosis.exit_code
    if fix is not None:
        repaired = diagnosis.repair(fix)
        left = examine(fix, base=base, recipe=recipe, pieces=pieces, audio=audio, progress=True)
        code = left.exit_code
        facts["repair"] = {
            "corpus": str(repaired.corpus.path),
            "counts": repaired.counts,
            "changes": str(repaired.file),
            "left": left.to_dict(),
        }
        if not as_json:
            show_repair(console, repaired, left)
    if as_json:
        import json

        print(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    raise typer.Exit(code)


def probe(
    base: Annotated[str, typer.Argument(help="base, or folder of a finished run")],
    corpus: Annotated[list[Path], typer.Argument(help="corpus folders (xlasr prepare)")],
    task: Annotated[str, typer.Option(help="keywords, intents, phones or speakers")],
    random: Annotated[
        bool, typer.Option("--random", help="weights of that shape, drawn anew: the peer")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="a Whisper base at its own 30 s: slower")
    ] = False,
    clips: Annotated[int, typer.Option(min=1, help="clips of a side at most")] = 1000,
    updates: Annotated[int, typer.Option(min=1, help="of the probe's weights")] = 1000,
    lr: Annotated[float, typer.Option(help="the probe's learning rate, decaying to 0")] = 5e-3,
    seed: Annotated[int, typer.Option(help="of new weights and the order of clips")] = 0,
    out: Annotated[Path | None, typer.Option(help="write everything to this JSON file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """Ask a frozen encoder's layers: which word, topic, phones, or voice?

    In the manner of SUPERB: a weighted sum over the layers and one linear layer
    are trained, the encoder is not. Chosen on dev, scored once on test.

    xlasr probe whisper-tiny.en EN --task phones
    xlasr probe RUN ES ES_CO --task keywords   (a word by another voice)
    """
    import json

    from rich.console import Console

    from xlasr.diagnosis.probes import ProbeSettings
    from xlasr.diagnosis.probes import probe as ask
    from xlasr.files import write_text
    from xlasr.reporting.probes import show_probe

    if out is not None and out.exists():
        raise UsageError(f"{out} exists; name another file")
    settings = ProbeSettings(updates=updates, lr=lr, seed=seed)
    found = ask(
        base,
        corpus,
        task,
        random=random,
        whole=whole,
        clips=clips,
        settings=settings,
        progress=True,
    )
    facts = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False)
    if out is not None:
        write_text(out, facts + "\n")
    if as_json:
        print(facts)
    else:
        show_probe(Console(), found)
