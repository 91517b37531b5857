"""Does machine-translated text serve as well as human? The same sentences in both, for the arms.

    python -m benchmarks.machine_translated human.tsv machine.tsv [--fold 2/4]

Translates the Spanish telephone prompts of training groups into Italian with Apertium, offline: its
Debian packages are unpacked, not installed (they take libxml2, libicu and the like from the
machine). Writes the human pairs and the machine's of the same prompts, and says how many words the
dictionary did not know and how far the machine is from the human. Both files are for ``pairs``.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks import parallel_text

from xlasr.data.parallel import Pair, write_pairs
from xlasr.data.readers import asterisk
from xlasr.data.readers.debian import fetch, fetch_tree
from xlasr.data.splits import side_of
from xlasr.data.text import normalise, raw
from xlasr.errors import DataError
from xlasr.scoring import score

PACKAGES = (
    "apertium",
    "apertium-lex-tools",
    "apertium-spa-ita",
    "libapertium-lex-tools1",
    "libapertium3",
    "libirstlm1",
    "liblttoolbox3",
    "lttoolbox",
)
MARK = re.compile(r"[*@#](?=\w)")
"""Before words that the dictionaries or the generator did not know."""


def translate(lines: Sequence[str], mode: str = "spa-ita") -> tuple[list[str], int]:
    """Translate lines, each on its own.

    Args:
        lines: Without line ends.
        mode: Name of Apertium's pipeline.

    Returns:
        Translations in the same order, and how many words were unknown.

    Raises:
        DataError: A program of the pipeline failed, or the lines came back in another number.
    """
    root = fetch_tree(PACKAGES)
    libraries = sorted({str(path.parent) for path in root.glob("usr/lib/**/*.so*")})
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": ":".join(libraries)}
    pipeline = (root / f"usr/share/apertium/modes/{mode}.mode").read_text(encoding="utf-8")
    steps = [["apertium-destxt"], *map(shlex.split, pipeline.split("|")), ["apertium-retxt"]]
    text = "".join(f"{line}\n\n" for line in lines).encode()  # an empty line ends a sentence
    for step in steps:
        # $1 asks to mark unknown words, $2 for nothing; the mode names its files from the root
        words = [{"$1": "-g", "$2": ""}.get(word, word) for word in step]
        words = [f"{root}{word}" if word.startswith("/usr/") else word for word in words if word]
        command = [str(root / "usr/bin" / words[0]), *words[1:]]
        done = subprocess.run(
            command, input=text, capture_output=True, env=environment, check=False
        )
        if done.returncode:
            raise DataError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')}")
        text = done.stdout
    found = text.decode().removesuffix("\n\n").split("\n\n")
    if len(found) != len(lines):
        raise DataError(f"Apertium gave {len(found)} translations of {len(lines)} lines")
    return [MARK.sub("", raw(line)) for line in found], sum(len(MARK.findall(s)) for s in found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files and say how they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("human", type=Path)
    parser.add_argument("machine", type=Path)
    parser.add_argument("--fold")
    given = parser.parse_args(arguments)
    human, _ = parallel_text.build("asterisk", "es", "it", given.fold)
    found, unknown = translate([pair.source for pair in human])
    # a translation may hit on a line that is held out
    italian = asterisk.texts(fetch("asterisk-core-sounds-it"), "it").values()
    sides = [(side_of(group, fold=given.fold), normalise(text)) for group, text in italian]
    held_out = {text for side, text in sides if side != "train"}
    kept = [
        (pair, Pair(pair.source, line))
        for pair, line in zip(human, found, strict=True)
        if normalise(line) and normalise(line) not in held_out
    ]
    for path, pairs in zip((given.human, given.machine), zip(*kept, strict=True), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pairs(pairs, path)
    by_human, by_machine = (
        {str(i): normalise(pair.text) for i, pair in enumerate(pairs)}
        for pairs in zip(*kept, strict=True)
    )
    far = score(by_human, by_machine)
    words = sum(len(text.split()) for text in by_machine.values())
    print(f"{len(kept)} pairs each; {len(human) - len(kept)} hit on a line that is held out")
    print(f"unknown to the dictionaries: {unknown} of about {words} words")
    print(f"machine against human: {100 * far.wer:.0f} % WER, {100 * far.cer:.0f} % CER")


if __name__ == "__main__":
    main()
