"""Dutch sentences for synthetic speech, from the help pages of Debian packages.

    python benchmarks/dutch_sentences.py sentences-nl.txt
    xlasr prepare sentences-nl.txt corpora/synthetic-nl --reader spoken-text --language nl

Debian has no Dutch quotations, so these are manuals: another domain than the game's dialogues.
"""

from __future__ import annotations

import argparse
import html
import random
import re
from pathlib import Path

from xlasr.data.readers.debian import fetch

PACKAGES = ("debian-faq-nl", "libreoffice-help-nl")
BLOCK = re.compile(r"</?(?:p|div|li|h\d|td|th|dt|dd|body|table|ul|ol)\b[^>]*>")
NOT_WORDS = re.compile(r"[0-9@#/\\<>*_=|~^{}\[\]();:+&%$\"]|[A-Z]{2,}|\w\.\w|\w-\w")


def main() -> None:
    """Write one sentence a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentences", type=int, default=7500)
    given = parser.parse_args()
    found: set[str] = set()
    for package in PACKAGES:
        for path in sorted(fetch(package).rglob("*.html")):
            page = path.read_text(encoding="utf-8", errors="ignore")
            page = re.sub(r"(?s)<(script|style|pre|code)\b.*?</\1>", " ", page)
            for block in re.split(
                r"</?(?:p|div|li|h\d|td|th|dt|dd|body|table|ul|ol)\b[^>]*>", page
            ):
                text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", block)).split())
                for sentence in re.split(r"(?<=[.!?])\s+", text):
                    whole = sentence[:1].isupper() and sentence[-1:] in {".", "!", "?"}
                    long_enough = 12 <= len(sentence) <= 80 and sentence.count(" ") >= 2
                    if whole and long_enough and not NOT_WORDS.search(sentence):
                        found.add(sentence)
    chosen = sorted(found)
    random.Random(0).shuffle(chosen)
    given.out.write_text("\n".join(chosen[: given.sentences]) + "\n", encoding="utf-8")
    print(f"{len(found)} sentences found, {min(len(found), given.sentences)} written")


if __name__ == "__main__":
    main()
