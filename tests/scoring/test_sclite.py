"""Parity with NIST sclite (Debian ``sctk``; or XLASR_SCLITE, or on PATH).

Equal, per utterance: hits, substitutions, deletions and insertions under ``costs="sclite"``, over
words and (``sclite -c``, which drops spaces) over characters. Under the default costs the total of
errors is the fewest possible, so it is never above sclite's; hits and the total may be below.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from xlasr.data.text import normalise
from xlasr.scoring import Counts, char_counts, score, word_counts

CZECH = [
    "Co je to za divnou loď?",
    "To je vrak dopravního letadla LC-10 Lemura.",
    "Vidíš to oko? Němý svědek tragédie... Někdo v důvěře usedl do letadla.",
    "A zůstalo z něho jen skleněné oko.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Jestli se nepletu, budeme muset tu pohovku někam odsunout.",
    "Ano.",
    "Tak to vidíš, já ti říkal, že ten krab je úplně na nic.",
]
CASES = 1500


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Path:
    given = os.environ.get("XLASR_SCLITE") or shutil.which("sclite")
    return Path(given) if given else request.getfixturevalue("sclite")


def spoil(rng: random.Random, words: Sequence[str]) -> list[str]:
    """Plant word and letter errors, repetitions and losses, as recognisers make them."""
    heard: list[str] = []
    for word in words:
        dice = rng.random()
        if dice < 0.12:
            continue
        if dice < 0.3:
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice("aeřžšíů") + word[at + 1 :]
        if dice > 0.9:
            heard.append(rng.choice(["je", "to", "se", "že"]))
        heard.extend([word] * (3 if dice > 0.97 else 1))
    return heard


def cases() -> list[tuple[str, str]]:
    rng = random.Random(0)
    pairs = []
    for number in range(CASES):
        if number % 3 == 0:  # letters from a tiny alphabet: ties and long ways round
            letters = rng.choice(["ař", "ařů", "ařůxyz"])
            pair = tuple(
                " ".join(rng.choice(letters) for _ in range(rng.randint(0, 12))) for _ in "rh"
            )
        else:
            ref = normalise(" ".join(rng.sample(CZECH, rng.randint(1, 2))))
            pair = (ref, " ".join(spoil(rng, ref.split())))
        if pair[0] or pair[1]:  # sclite has no line for nothing against nothing
            pairs.append((pair[0], pair[1]))
    return pairs


def run_sclite(
    program: Path, folder: Path, pairs: list[tuple[str, str]], *options: str
) -> list[Counts]:
    for side, name in enumerate(("ref.trn", "hyp.trn")):
        lines = [f"{pair[side]} (a_{i})\n" for i, pair in enumerate(pairs)]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    command = [str(program), "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm"]
    command += ["-e", "utf-8", "-s", *options, "-o", "pralign", "stdout"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    found = re.findall(
        r"^id: \(a_(\d+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)$",
        done.stdout.decode("utf-8"),
        re.MULTILINE,
    )
    counts = {int(key): Counts(*map(int, numbers)) for key, *numbers in found}
    assert sorted(counts) == list(range(len(pairs)))
    return [counts[i] for i in range(len(pairs))]


def test_words_are_counted_as_sclite_counts_them(program: Path, tmp_path: Path) -> None:
    pairs = cases()
    theirs = run_sclite(program, tmp_path, pairs)
    assert [word_counts(ref, hyp, "sclite") for ref, hyp in pairs] == theirs
    fewest = [word_counts(ref, hyp) for ref, hyp in pairs]
    assert all(ours.errors <= nist.errors for ours, nist in zip(fewest, theirs, strict=True))
    assert all(ours.reference == nist.reference for ours, nist in zip(fewest, theirs, strict=True))
    # Where texts are a language's and not dice, both definitions give the same total.
    real = [i for i, (ref, _) in enumerate(pairs) if any(len(w) > 1 for w in ref.split())]
    assert len(real) > 900
    assert sum(fewest[i].errors for i in real) == pytest.approx(
        sum(theirs[i].errors for i in real), rel=1e-3
    )


def test_the_corpus_sum_is_sclite_s(program: Path, tmp_path: Path) -> None:
    pairs = cases()[:300]
    references = {str(i): ref for i, (ref, _) in enumerate(pairs)}
    hypotheses = {str(i): hyp for i, (_, hyp) in enumerate(pairs)}
    ours = score(references, hypotheses, normaliser="raw", costs="sclite")
    assert ours.words == sum(run_sclite(program, tmp_path, pairs), Counts())


def test_characters_are_counted_as_sclite_counts_them(program: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in cases()[::5] if pair[0] and pair[1]]
    theirs = run_sclite(program, tmp_path, pairs, "-c")
    ours = [char_counts(r.replace(" ", ""), h.replace(" ", ""), "sclite") for r, h in pairs]
    assert ours == theirs
