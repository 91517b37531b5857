"""Parallel text of the free speech, of training groups only: what a text-only stage may read.

    python benchmarks/parallel_text.py fillets en cs text/en-cs.tsv
    python benchmarks/parallel_text.py fillets nl it text/nl-it.tsv
    python benchmarks/parallel_text.py asterisk es it text/es-it.tsv [--fold 2/4]
    python benchmarks/parallel_text.py all en it text/en-it.tsv

The game's scripts hold the same lines in a dozen languages (bg cs de en es fr it nl pl ru sv, and
parts in de_CH eo sl), the prompts exist in en es fr it. ``--fold`` must be that of the corpus.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xlasr.data.parallel import Pair, training_pairs, write_pairs
from xlasr.data.readers import asterisk, fillets
from xlasr.data.readers.debian import fetch

PROMPTS = {"en", "es", "fr", "it"}


def build(
    work: str, source: str, target: str, fold: str | None = None
) -> tuple[list[Pair], dict[str, int]]:
    """Pairs of a work (``fillets``, ``asterisk`` or ``all``), and what was left out."""
    if work == "all":
        works = ["fillets", "asterisk"] if {source, target} <= PROMPTS else ["fillets"]
        parts = [build(one, source, target, fold) for one in works]
        left_out = sum((Counter(found[1]) for found in parts), Counter[str]())
        return [pair for found in parts for pair in found[0]], dict(left_out)
    if work == "fillets":
        root = fetch("fillets-ng-data")
        sides = [fillets.texts(root, language) for language in (source, target)]
    else:
        sides = [
            asterisk.texts(fetch(f"asterisk-core-sounds-{language}"), language)
            for language in (source, target)
        ]
    return training_pairs(sides[0], sides[1], fold)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["fillets", "asterisk", "all"])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("out", type=Path)
    parser.add_argument("--fold")
    given = parser.parse_args(arguments)
    pairs, left_out = build(given.work, given.source, given.target, given.fold)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_pairs(pairs, given.out)
    print(f"{given.out}: {len(pairs)} pairs, {sum(len(p.text) for p in pairs)} characters")
    for why, count in left_out.items():
        print(f"  left out {count}: {why}")


if __name__ == "__main__":
    main()
