"""Forced alignment on real speech: word times, an hour cut by its text, wrong transcripts.

    python benchmarks/alignment.py words RUN CORPUS [--split test]
    python benchmarks/alignment.py hour RUN CORPUS [--split test] [--minutes 60] [--unit line]
    python benchmarks/alignment.py suspects RUN CORPUS [--split train] [--share 0.02]

``words`` and ``hour`` join clips of a split in random order. Silero's voice detector, which the
aligner never uses, first trims each clip to its speech (or its edges would be known and the words'
would not); between two clips stands noise of -60 dB for 0 to 0.4 s (``words``; nothing at a third
of the joints) or 0.1 to 0.8 s (``hour``).

``words``: the joints are the only word times that are known: the start of the first and the end of
the last word of each clip. Words inside clips are not measured. Joined a minute at a time, the text
is given as one line. Counted: boundaries within 100 ms of the joint; a word counts as right when
its one known boundary is. Also without reaching out from the letters' frames (``spikes``).

``hour``: clips are repeated until the minutes are full (each time in another order). ``--wrong``
puts in as many lines that nobody says, and leaves as many of the spoken lines out of the text, per
hundred. With ``--unit text`` (the default) the transcript is one line, punctuation as in the
corpus, so the borders of the clips are not given. Counted: words of the clips that end up in an
utterance and whose middle lies within their own clip; cuts (the places between two utterances)
with an edge more than 0.1 s inside a clip, those of them where no sentence ends in the text, and
those whose middle is voice to Silero's detector; borders between clips with a cut within 0.3 s.
``--bare`` takes the punctuation out too. With ``--unit line`` each clip is a line, so its text is
given; a clip counts as cut back when both ends are within 0.3 s.

``suspects``: the share of transcripts is swapped among themselves; counted: how many of them are in
the worst 5 %.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Samples = NDArray[np.float32]


@dataclass
class Clip:
    """Trimmed speech and its transcript."""

    samples: Samples
    text: str
    voice: NDArray[np.bool_]  # of every 512 samples


def trimmed(split: Any) -> list[Clip]:
    """Clips cut to the speech that Silero's detector finds; those without any are left out."""
    from xlasr.data.voice import FRAME, SileroVAD

    clips = []
    for utterance in split:
        samples = utterance.load()
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        voice = SileroVAD()(frames) > 0.5 if len(frames) else np.zeros(0, dtype=np.bool_)
        if voice.any():
            first, last = np.flatnonzero(voice)[[0, -1]].tolist()
            cut = samples[first * FRAME : (last + 1) * FRAME]
            clips.append(Clip(cut, utterance.text, voice[first : last + 1]))
    return clips


def joined(
    clips: list[Clip], rng: np.random.Generator, shortest_s: float, longest_s: float
) -> tuple[list[Samples], list[tuple[float, float]]]:
    """Pieces of one recording, and where each clip lies in it, in seconds."""
    pieces: list[Samples] = []
    spans = []
    at = 0
    for clip in clips:
        pause = max(0, round(rng.uniform(shortest_s, longest_s) * RATE))
        pieces.append((1e-3 * rng.standard_normal(pause)).astype(np.float32))
        at += pause
        spans.append((at / RATE, (at + len(clip.samples)) / RATE))
        pieces.append(clip.samples)
        at += len(clip.samples)
    return pieces, spans


def words(model: Any, split: Any, seed: int) -> dict[str, Any]:
    """Boundaries at joints within 100 ms."""
    from xlasr.alignment.ctc import align_lattice
    from xlasr.alignment.posteriors import posteriors
    from xlasr.alignment.text import join_units, make_unit, pause_bonus
    from xlasr.alignment.viterbi import Lattice
    from xlasr.alignment.words import PAUSE_BONUS, place_words

    rng = np.random.default_rng(seed)
    clips = trimmed(split)
    order = rng.permutation(len(clips)).tolist()
    errors: dict[str, list[float]] = {k: [] for k in ("start", "end", "spike_start", "spike_end")}
    size = 25  # about a minute
    for begin in range(0, len(order), size):
        group = [clips[i] for i in order[begin : begin + size]]
        pieces, spans = joined(group, rng, -0.2, 0.4)
        heard = posteriors(model, [np.concatenate(pieces)])
        units = [make_unit(model, " ".join(clip.text for clip in group))]
        first = [make_unit(model, clip.text) for clip in group]
        counts = [len(set(u.word_of[u.word_of >= 0].tolist())) for u in first]
        symbols, _ = join_units(units)
        bonus = pause_bonus(units, PAUSE_BONUS)
        found = align_lattice(Lattice(heard.log_probs, symbols, bonus=bonus))
        placed = place_words([(units[0], 0)], found, heard)[0]
        letters = units[0].word_of
        known = [i for i in range(len(units[0].words)) if (letters == i).any()]
        spikes = []
        for i in known:
            own = np.flatnonzero(letters == i)
            spikes.append((found.starts[own[0]] * 0.02, found.ends[own[-1]] * 0.02))
        at = 0
        for (start, end), count in zip(spans, counts, strict=True):
            if count == 0:
                continue
            last = at + count - 1
            errors["start"].append(placed[at].start_s - start)
            errors["end"].append(placed[last].end_s - end)
            errors["spike_start"].append(spikes[at][0] - start)
            errors["spike_end"].append(spikes[last][1] - end)
            at += count
        if at != len(placed):
            raise RuntimeError(f"{at} words counted, {len(placed)} placed")
    result: dict[str, Any] = {"clips": len(errors["start"])}
    both = [*errors["start"], *errors["end"]]
    spikes_both = [*errors["spike_start"], *errors["spike_end"]]
    for name, values in {**errors, "all": both, "all_spikes": spikes_both}.items():
        array = np.array(values)
        result[name] = {
            "within_100_ms": round(float((np.abs(array) <= 0.1).mean()), 4),
            "within_200_ms": round(float((np.abs(array) <= 0.2).mean()), 4),
            "median_ms": round(1000 * float(np.median(array))),
            "quartiles_ms": (1000 * np.percentile(array, [5, 25, 75, 95])).round().tolist(),
        }
    return result


def hour(
    model: Any, split: Any, seed: int, minutes: float, wrong: float, matching: Any, bare: bool
) -> dict[str, Any]:
    """Clips cut back out of a long recording by its text."""
    from xlasr.alignment.segment import segment
    from xlasr.data.text import normalise

    rng = np.random.default_rng(seed)
    source = trimmed(split)
    chosen: list[int] = []
    seconds = 0.0
    while seconds < minutes * 60:
        for i in rng.permutation(len(source)).tolist():
            chosen.append(i)
            seconds += len(source[i].samples) / RATE + 0.45
            if seconds >= minutes * 60:
                break
    clips = [source[i] for i in chosen]
    if bare:
        clips = [replace(clip, text=normalise(clip.text)) for clip in clips]
    pieces, spans = joined(clips, rng, 0.1, 0.8)
    lines: list[str] = []
    owner: dict[int, int] = {}  # line -> clip
    n_wrong = n_missing = 0
    for number, clip in enumerate(clips):
        if rng.random() < wrong / 100:
            lines.append(source[int(rng.integers(len(source)))].text)  # nobody says this here
            n_wrong += 1
        if rng.random() < wrong / 100:
            n_missing += 1
            continue
        lines.append(clip.text)
        owner[len(lines)] = number

    def blocks() -> Iterator[Samples]:
        yield from pieces

    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.time(), time.process_time()
    by_lines = matching.unit == "line"
    text = ("\n" if by_lines else " ").join(lines)
    found = segment(model, blocks(), text, matching)
    if by_lines:
        measured = by_line(found, owner, spans)
    else:
        measured = by_word(found, lines, owner, spans, [clip.voice for clip in clips])
    scores = np.array([u.score for u in found.utterances])
    left = [item for item in found.left_out if item.what == "text"]
    lengths = np.array([u.end_s - u.start_s for u in found.utterances])
    return {
        "unit": matching.unit,
        "punctuation": not bare,
        "minutes": round(found.duration_s / 60, 2),
        "lines": len(lines),
        "clips_with_text": len(owner),
        "wrong_lines": n_wrong,
        "clips_without_text": n_missing,
        **measured,
        "utterances": len(found.utterances),
        "minutes_kept": round(float(lengths.sum()) / 60, 2),
        "length_s_percentiles": np.percentile(lengths, [5, 50, 95, 100]).round(2).tolist(),
        "text_left_out": len(left),
        "audio_left_out": len(found.left_out) - len(left),
        "reasons": sorted({item.reason.split(" ")[0] for item in left}),
        "score_percentiles": np.percentile(scores, [1, 5, 25, 50]).round(2).tolist(),
        "peak_mb_before": round(before_mb),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "recording_mb": round(sum(p.nbytes for p in pieces) / 2**20),
        "wall_s": round(time.time() - began),
        "cpu_s": round(time.process_time() - cpu),
    }


def by_line(found: Any, owner: dict[int, int], spans: list[tuple[float, float]]) -> dict[str, Any]:
    """Clips with both ends within 0.3 s; each line is the text of a clip."""
    right = in_text = 0
    misses = []
    for utterance in found.utterances:
        if utterance.line in owner:
            start, end = spans[owner[utterance.line]]
            near = abs(utterance.start_s - start) <= 0.3 and abs(utterance.end_s - end) <= 0.3
            right += near
            in_text += 1
            if not near:
                misses.append(
                    (round(utterance.start_s - start, 2), round(utterance.end_s - end, 2))
                )
    return {
        "cut_back": right,
        "share": round(right / len(owner), 4),
        "kept_lines_of_clips": in_text,
        "wrong_lines_kept": len(found.utterances) - in_text,
        "misses": misses[:20],
    }


def by_word(
    found: Any,
    lines: list[str],
    owner: dict[int, int],
    spans: list[tuple[float, float]],
    voices: list[NDArray[np.bool_]],
) -> dict[str, Any]:
    """Words within their clips, cuts within speech, borders of clips that are cuts."""
    from xlasr.alignment.text import ends_sentence
    from xlasr.data.text import normalise

    clip_of: list[int | None] = []  # of each word of the text; None where nobody says it
    for number, line in enumerate(lines, start=1):
        clip_of += [owner.get(number)] * len(line.split())
    in_clips = sum(len(normalise(w).split()) > 0 for n in owner for w in lines[n - 1].split())
    # utterances and text that was left out are the whole text again, in order of time
    order = [(u.start_s, 1, u.text, u.words) for u in found.utterances]
    order += [(i.start_s, 0, i.text, None) for i in found.left_out if i.what == "text"]
    order.sort(key=lambda row: row[:2])
    if " ".join(row[2] for row in order).split() != " ".join(lines).split():
        raise RuntimeError("the words of the outcome are not those of the text")
    inside = kept = wrong_kept = at = 0
    for _, _, text, words in order:
        clips = clip_of[at : at + len(text.split())]
        at += len(clips)
        if words is None:
            continue
        wrong_kept += sum(clip is None for clip in clips)
        place = 0  # words of the text that a timed word spans: a dash stays with its neighbour
        for word in words:
            clip = clips[place]
            place += len(word.text.split())
            if clip is not None:
                kept += 1
                middle = (word.start_s + word.end_s) / 2
                inside += spans[clip][0] <= middle <= spans[clip][1]
    starts = np.array([start for start, _ in spans])
    ends = np.array([end for _, end in spans])

    def deep(t: float) -> bool:
        i = int(np.searchsorted(starts, t)) - 1
        return i >= 0 and bool(starts[i] + 0.1 < t < ends[i] - 0.1)

    def voiced(t: float) -> bool:
        i = max(0, int(np.searchsorted(starts, t)) - 1)
        frame = int((t - starts[i]) * RATE / 512)
        return 0 <= frame < len(voices[i]) and bool(voices[i][frame])

    cuts = list(zip(found.utterances, found.utterances[1:], strict=False))
    touching = [(a, b) for a, b in cuts if deep(a.end_s) or deep(b.start_s)]
    unstopped = [(a, b) for a, b in touching if not ends_sentence(a.text)]
    places = np.array([t for a, b in cuts for t in (a.end_s, b.start_s)])
    borders = (ends[:-1] + starts[1:]) / 2
    near = [
        bool((np.abs(places - t) <= 0.3 + pause / 2).any())
        for t, pause in zip(borders, starts[1:] - ends[:-1], strict=True)
    ]
    return {
        "words_of_clips": in_clips,
        "words_kept": kept,
        "words_in_their_clip": inside,
        "share": round(inside / in_clips, 4),
        "share_of_kept": round(inside / kept, 4),
        "words_nobody_says_kept": wrong_kept,
        "cuts": len(cuts),
        "cuts_touching_a_clip": len(touching),
        "of_them_not_at_a_sentence_end": len(unstopped),
        "cuts_in_voice": sum(voiced((a.end_s + b.start_s) / 2) for a, b in cuts),
        "share_of_cuts_touching": round(len(touching) / len(cuts), 4),
        "clip_borders": len(borders),
        "clip_borders_cut": sum(near),
        "share_of_borders": round(sum(near) / len(borders), 4),
        "cut_in_speech": [(a.text[-25:], b.text[:25]) for a, b in unstopped[:20]],
    }


def find_suspects(model: Any, split: Any, seed: int, share: float) -> dict[str, Any]:
    """Swapped transcripts among the worst 5 %."""
    from xlasr.alignment.suspects import suspects

    rng = np.random.default_rng(seed)
    utterances = list(split)
    n = max(2, round(share * len(utterances)))
    rows = rng.choice(len(utterances), n, replace=False).tolist()
    planted = set()
    for here, other in zip(rows, rows[1:] + rows[:1], strict=True):
        text = split[other].text
        if text != utterances[here].text:
            planted.add(utterances[here].id)
        utterances[here] = replace(utterances[here], text=text)
    ranked = suspects(model, utterances)
    worst = {s.id for s in ranked[: round(0.05 * len(ranked))]}
    by_forced = sorted(ranked, key=lambda s: s.forced)
    worst_forced = {s.id for s in by_forced[: round(0.05 * len(ranked))]}
    return {
        "utterances": len(ranked),
        "swapped": len(planted),
        "in_worst_5_percent": len(planted & worst),
        "share": round(len(planted & worst) / len(planted), 4),
        "by_forced_score_alone": round(len(planted & worst_forced) / len(planted), 4),
        "ranks": sorted(i for i, s in enumerate(ranked) if s.id in planted),
        "worst_that_were_not_swapped": [
            (s.id, s.text, s.heard, round(s.score, 2)) for s in ranked if s.id not in planted
        ][:8],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["words", "hour", "suspects"])
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--wrong", type=float, default=0.0)
    parser.add_argument("--unit", choices=["text", "line"], default="text")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--longest", type=float, default=15.0)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    from xlasr.alignment.segment import Matching
    from xlasr.api import open_run
    from xlasr.data.corpus import Corpus

    torch.set_num_threads(options.threads)
    model = open_run(options.run).model
    side = options.split or ("train" if options.what == "suspects" else "test")
    split = Corpus.open(options.corpus).split(side)
    if options.what == "words":
        result = words(model, split, options.seed)
    elif options.what == "hour":
        matching = Matching(unit=options.unit, longest_s=options.longest)
        result = hour(
            model, split, options.seed, options.minutes, options.wrong, matching, options.bare
        )
    else:
        result = find_suspects(model, split, options.seed, options.share)
    print(json.dumps({"what": options.what, "split": side, "seed": options.seed, **result}))


if __name__ == "__main__":
    main()
