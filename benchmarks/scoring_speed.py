"""How long scoring takes: 100,000 utterances, and the same by jiwer, in CPU-seconds.

    OMP_NUM_THREADS=1 python benchmarks/scoring_speed.py [--utterances 100000]

Sentences are drawn from a Zipf vocabulary with Czech letters, 7 words each on the average (as the
Czech test set), and a quarter of the words is spoilt. ``score`` normalises both sides and counts
words and characters; jiwer is given the normalised texts and does the counting alone. Then come
the parts of a scorecard one by one, and all of it from two files.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer

from xlasr.scoring import rate_interval, score, werr
from xlasr.scoring.breakdown import by_duration, confusion, substitutions
from xlasr.scoring.error_kinds import error_kinds
from xlasr.scoring.micro import score_names, score_numbers, score_terms
from xlasr.scoring.rare_words import rare_words
from xlasr.scoring.scorecard import score_files

LETTERS = "aábcčdďeéěfghiíjklmnňoópqrřsštťuúůvwxyýzž"


def sentences(n: int, rng: random.Random) -> tuple[list[str], list[str]]:
    """References with case and punctuation, and what a recogniser made of them."""
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 8))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    drawn = iter(rng.choices(words, weights, k=10 * n))
    references, hypotheses = [], []
    for _ in range(n):
        said = [next(drawn) for _ in range(rng.randint(4, 10))]
        heard = []
        for word in said:
            dice = rng.random()
            if dice < 0.05:
                continue
            if dice < 0.2:
                at = rng.randrange(len(word))
                word = word[:at] + rng.choice(LETTERS) + word[at + 1 :]
            heard.append(word)
            if dice > 0.95:
                heard.append(rng.choice(words))
        references.append(" ".join(said).capitalize() + rng.choice(".?!"))
        hypotheses.append(" ".join(heard))
    return references, hypotheses


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Print and pass on."""
    begun = time.process_time()
    found = work()
    print(f"| {name} | {time.process_time() - begun:.1f} |", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--utterances", type=int, default=100_000)
    n = parser.parse_args().utterances
    left, right = sentences(n, random.Random(0))
    keys = [f"utterance-{i}" for i in range(n)]
    references, hypotheses = (dict(zip(keys, side, strict=True)) for side in (left, right))
    groups = {key: f"scene{i % 200}" for i, key in enumerate(keys)}
    print(f"{n} utterances, CPU-seconds\n\n| what | s |\n|---|---|")
    found = timed(
        "score: normalise, words, characters", lambda: score(references, hypotheses, groups)
    )
    texts = [u.reference for u in found.utterances], [u.hypothesis for u in found.utterances]
    words = timed("jiwer, words only, texts normalised", lambda: jiwer.process_words(*texts))
    characters = timed("jiwer, characters only", lambda: jiwer.process_characters(*texts))
    assert (found.wer, found.cer) == (words.wer, characters.cer)
    timed("both intervals, 200 groups", lambda: [rate_interval(found, m) for m in ("wer", "cer")])
    single = score(references, hypotheses)
    timed("an interval over utterances", lambda: rate_interval(single, "wer"))
    timed("WERR with interval, 200 groups", lambda: werr(found, found))
    timed("rare words", lambda: rare_words(found, left))
    timed("numbers", lambda: score_numbers(found))
    timed("names", lambda: score_names(found, references))
    timed("100 terms", lambda: score_terms(found, " ".join(texts[0]).split()[:100]))
    timed("substitution pairs", lambda: substitutions(found))
    timed("confusion matrix", lambda: confusion(found))
    timed("by duration", lambda: by_duration(found, {key: i % 30 for i, key in enumerate(keys)}))
    raw = score(references, hypotheses, groups, "raw")
    timed("kinds of errors, as written", lambda: error_kinds(raw))
    with tempfile.TemporaryDirectory() as folder:
        ref, hyp = Path(folder) / "ref.tsv", Path(folder) / "hyp.tsv"
        rows = (f"{key}\t{groups[key]}\t{text}\n" for key, text in references.items())
        ref.write_text("id\tscene\ttext\n" + "".join(rows), encoding="utf-8")
        rows = (f"{key}\t{text}\n" for key, text in hypotheses.items())
        hyp.write_text("id\ttext\n" + "".join(rows), encoding="utf-8")
        timed("a whole scorecard from two files", lambda: score_files(ref, hyp))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nWER {100 * found.wer:.1f} %, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
