"""``README.md`` of a run: a model card with the Hugging Face Hub's metadata.

Everything in it is read from the run and its evaluations; what is not known is left out of the
metadata and said in the text. Scores in the metadata are in per cent, as speech models on the Hub
give them.

Source: https://huggingface.co/docs/hub/model-cards; the sections follow M. Mitchell et al., "Model
Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlasr.errors import CorpusError, DataError
from xlasr.files import write_text
from xlasr.reporting.formatting import (
    decoding_words,
    duration,
    number,
    per_cent,
    short,
    span,
    stage_name,
    whole,
)
from xlasr.reporting.hub_metadata import Scored, metadata, words_first
from xlasr.scoring import Score, rate_interval
from xlasr.scoring.error_rates import Metric

FILE = "README.md"
DRAFT: dict[Metric, float] = {"wer": 0.3, "cer": 0.15}
"""From this error rate on the card calls transcripts a draft."""
_MARKS = re.compile(r"([\\`*_\[\]<>|#])")


def write_model_card(
    run_folder: str | Path,
    facts: Mapping[str, Any],
    card: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    licence: str | None = None,
) -> Path:
    """Write ``RUN/README.md``; an old one is replaced.

    Args:
        run_folder: Of the run; its other ``evaluations/*.json`` are shown too.
        facts: ``run.json``.
        card: Of the corpus that was scored, as ``card.json`` has it.
        evaluation: What ``evaluations/SPLIT.json`` holds; shown first.
        licence: Of the adapted weights, as an SPDX expression, where their owner has said it. None
            takes the licence of the speech where that is known, and says so.

    Returns:
        The file.

    Raises:
        DataError: The evaluation is damaged.
    """
    from huggingface_hub import ModelCard

    folder = Path(run_folder)
    scored = _evaluations(folder, evaluation)
    training = _training_card(facts, card, evaluation)
    stated = licence or _licence_of(training)
    data = metadata(folder, facts, training, scored, stated)
    text = _text(folder, facts, training, scored, licence)
    content = f"---\n{data.to_yaml()}\n---\n\n{text}"
    path = folder / FILE
    write_text(path, str(ModelCard(content)))  # refuses metadata that the Hub could not read
    return path


def _licence_of(card: Mapping[str, Any]) -> str | None:
    found = str(card.get("licence") or "unknown")
    return None if found == "unknown" else found


def _evaluations(folder: Path, evaluation: Mapping[str, Any]) -> list[Scored]:
    """This evaluation, then the others in the folder, each corpus, split and decoding once."""
    found: dict[tuple[str, str, str], Scored] = {}
    contents: list[Mapping[str, Any]] = [evaluation]
    for path in sorted((folder / "evaluations").glob("*.json")):
        try:
            contents.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); evaluate again or remove it") from error
    for content in contents:
        decode = decoding_words(content.get("decode") or {}, "language model")
        base = content.get("base")
        entry = Scored(
            Path(str(content["corpus"])).name,
            str(content["split"]),
            decode,
            Score.from_dict(content["adapted"]),
            Score.from_dict(base) if base else None,
            content,
        )
        found.setdefault((str(content["split_sha256"]), entry.split, decode), entry)
    return list(found.values())


def _training_card(
    facts: Mapping[str, Any], card: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The card of what the run was trained on; empty where that is another corpus and gone."""
    from xlasr.data.corpus import Corpus

    if str(evaluation.get("corpus")) == str(facts["corpus"]["path"]):
        return card
    try:
        corpus = Corpus.open(facts["corpus"]["path"])
    except CorpusError:
        return {}
    if corpus.sha256 != facts["corpus"]["sha256"]:
        return {}
    found: dict[str, Any] = json.loads(corpus.card.to_json())
    return found


def _text(
    folder: Path,
    facts: Mapping[str, Any],
    card: Mapping[str, Any],
    scored: Sequence[Scored],
    licence: str | None,
) -> str:
    base, language = _plain(facts["base"]["name"]), _plain(facts["language"])
    last = (facts.get("stages") or [{}])[-1]
    what = f"Speech recognition for the language {language}"
    if into := last.get("target"):
        what = f"Speech translation from the language {language} into {_plain(into)} (errors are"
        what += " counted against one translation, so they are many more than mistakes)"
    parts = [
        f"# {_plain(folder.absolute().name)}",
        f"{what}: the base {base}, adapted with the recipe"
        f" {_plain(facts.get('recipe', ''))} of xlasr.",
        "## Scores",
        _scores(scored),
        "## What it is not good for",
        _limits(facts, card, scored),
        "## How it was trained",
        _training(facts, card, licence),
        "## How to use it",
        _usage(folder),
        "## Do it again",
        _again(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _scores(scored: Sequence[Scored]) -> str:
    lines = [
        "| corpus | split | decoding | model | WER | 95 % interval | CER | 95 % interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for entry in scored:
        for name, score in (("this one", entry.score), ("unadapted base", entry.base)):
            if score is None:
                continue
            cells = [_plain(entry.corpus), _plain(entry.split)]
            cells += [entry.decode, name] if name == "this one" else ["greedy", name]
            metrics: tuple[Metric, Metric] = ("wer", "cer")
            for metric in metrics:
                rate = rate_interval(score, metric, speakers=entry.content.get("speakers"))
                known = metric in words_first(score)
                cells += [per_cent(rate.value), span(rate.ends)] if known else ["", ""]
                notes += [rate.note] if known and name == "this one" else []
            line = f"| {' | '.join(cells)} |"
            if line not in lines:  # the base is the same, however the model was decoded
                lines.append(line)
    first = scored[0].score
    groups = len(first.per_group("cer")[0])
    unspaced = ", case and spaces" if len(words_first(first)) == 1 else " and case"
    text = (
        f"{whole(len(first.utterances))} utterances of {whole(groups)} groups (speakers, scenes or"
        f" recordings); punctuation{unspaced} do not count (normaliser {first.normaliser}"
        f" v{first.normaliser_version}); the intervals resample groups."
    )
    text += "".join(_japanese(entry) for entry in scored)
    notes = [*((scored[0].content.get("scorecard") or {}).get("notes") or ()), *notes]
    shown = "".join(f" Note: {note}." for note in dict.fromkeys(notes) if note)
    return "\n".join(lines) + f"\n\n{text}{shown}"


def _japanese(entry: Scored) -> str:
    """The scores by MeCab's words and by readings, which are no WER and CER of the table's kind."""
    found = (entry.content.get("japanese") or {}).get("adapted")
    if not found:
        return ""
    words, readings = (Score.from_dict(found[key]) for key in ("words", "readings"))
    wer, cer = rate_interval(words, "wer"), rate_interval(readings, "cer")
    return (
        f" {_plain(entry.corpus)}, {_plain(entry.split)} ({entry.decode}): WER over MeCab's words"
        f" {per_cent(wer.value)} [{span(wer.ends)}], CER with spellings of one reading equal"
        f" {per_cent(cer.value)} [{span(cer.ends)}] ({_plain(found['dictionary'])})."
    )


def _limits(
    facts: Mapping[str, Any], card: Mapping[str, Any], scored: Sequence[Scored]
) -> str:  # fmt: skip
    entry = scored[0]
    metric = words_first(entry.score)[0]
    rate, unit = entry.score.counts(metric).rate, "word" if metric == "wer" else "character"
    points = []
    if rate >= DRAFT[metric]:
        points.append(
            f"Text that nobody corrects: {number(100 * rate, 0)} {unit} errors in 100 {unit}s. It"
            " is a draft to correct, or an aid to search."
        )
    source = _plain(card.get("source") or entry.corpus)
    points.append(
        f"Other kinds of speech than {source}: other topics, rooms, microphones and telephones were"
        " not measured, and error rates there are usually higher."
    )
    train = (card.get("splits") or {}).get("train") or {}
    if train.get("speakers"):
        points.append(
            f"Other voices: training heard {whole(train['speakers'])}"
            f" speaker{'s' if train['speakers'] != 1 else ''}."
        )
    points += [f"{_plain(str(w)[:1].upper() + str(w)[1:])}." for w in card.get("warnings") or ()]
    test = (card.get("splits") or {}).get(entry.split) or {}
    if test.get("unseen"):
        letters = " ".join(_plain(c) for c in test["unseen"][:20])
        points.append(f"Letters that training did not have, such as {letters}.")
    also = entry.content.get("also") or ()
    for kept in also:
        before = kept.get("base_cer")
        points.append(
            f"{_plain(kept['language'])} ({_plain(Path(str(kept['corpus'])).name)}): CER"
            f" {'' if before is None else per_cent(before) + ' before adaptation, '}"
            f"{per_cent(kept['adapted_cer'])} after ({_plain(kept.get('verdict', ''))})."
        )
    if not also:
        points.append(
            "The languages that the base knew: adaptation usually costs some of them, and it was"
            " not measured."
        )
    points.append("Decisions about people: no group of speakers was looked at by itself.")
    return "\n".join(f"* {point}" for point in points)


def _training(facts: Mapping[str, Any], card: Mapping[str, Any], licence: str | None) -> str:
    from xlasr.models.catalogue import BUILT_IN

    lines = ["| stage | trained parameters | of | updates | speech | dev CER |", "|---" * 6 + "|"]
    for stage in facts.get("stages", []):
        minutes = stage.get("train_minutes")
        cer = stage.get("dev_cer")
        cells = (
            _plain(stage_name(stage)),
            short(stage.get("trainable_parameters", 0)),
            short(stage.get("parameters", 0)),
            whole(stage.get("updates", 0)),
            "" if minutes is None else f"{number(minutes)} min",
            "" if cer is None else per_cent(cer),
        )
        lines.append(f"| {' | '.join(cells)} |")
    name = str(facts["base"]["name"])
    known = BUILT_IN[name].licence if name in BUILT_IN else "see the base's own card"
    corpus = _plain(card.get("source") or Path(str(facts["corpus"]["path"])).name)
    speech = _plain(card.get("licence") or "unknown")
    points = [
        f"Speech: {corpus}, licence {speech}."
        + (f" {_plain(card['attribution'])}." if card.get("attribution") else ""),
        f"Base: {_plain(name)}, licence {known}.",
    ]
    if card.get("split_rule"):
        points.append(
            f"Split: {_plain(card['split_rule'])}; a group is: {_plain(card.get('group_rule', ''))}"
        )
    if licence:
        told = f"{_plain(licence)}."
    elif of_speech := _licence_of(card):
        told = (
            f"{_plain(of_speech)}, that of the speech; their owner has stated no other"
            " (`xlasr evaluate --licence`), and the terms of the base hold too."
        )
    else:
        told = (
            "not stated. They come from the base and the speech above; whoever publishes them"
            " states it (`xlasr evaluate --licence`), under the terms of both."
        )
    points.append(f"Licence of these weights: {told}")
    return "\n".join(lines) + "\n\n" + "\n".join(f"* {point}" for point in points)


def _usage(folder: Path) -> str:
    name = re.sub(r"[^\w./-]", "_", folder.absolute().name)
    return (
        "The folder of the run, as it is:\n\n"
        f"```\nxlasr transcribe {name} interview.m4a --format srt\n"
        f"xlasr evaluate {name} --split test\n```\n\n"
        "```python\nimport xlasr\n\n"
        f'run = xlasr.open_run("{name}")\n'
        'for segment in run.transcribe("interview.m4a"):\n'
        "    print(segment.start_s, segment.text)\n```"
    )


def _again(facts: Mapping[str, Any]) -> str:
    environment, cost = facts.get("environment", {}), facts.get("cost", {})
    versions = ", ".join(f"{k} {v}" for k, v in environment.get("versions", {}).items())
    rows = {
        "seed": facts.get("seed"),
        "threads": facts.get("threads"),
        "commit": environment.get("commit"),
        "versions": versions,
        "sha256 of the base": facts["base"]["sha256"],
        "sha256 of the corpus": facts["corpus"]["sha256"],
        "cost of training": f"{duration(cost['wall_s'])} ({whole(cost['cpu_s'])} CPU-seconds), at"
        f" most {whole(cost['peak_memory_mb'])} MB of memory"
        if cost
        else None,
    }
    table = [f"| {k} | {_plain(v)} |" for k, v in rows.items() if v not in (None, "")]
    # A fence must be longer than any in what it holds.
    command = " ".join(str(environment.get("command", "")).split())
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return (
        f"{fence}\n{command}\n{fence}\n\n"
        "Every setting is in `recipe.yaml`.\n\n| | |\n|---|---|\n" + "\n".join(table)
    )


def _plain(text: object) -> str:
    """Text from outside as plain words of Markdown, on one line: no links, no HTML, no tables."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split())).replace("&", "&amp;")
