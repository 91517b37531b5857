"""A corpus on disk: lhotse reads the same, a million lines cost nothing, damage is seen."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlasr.data import audio
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.quarantine import Quarantine
from xlasr.data.writing import staging, write_corpus, write_manifests
from xlasr.errors import CorpusError, UnknownName, UsageError


def utterances(folder: Path, n: int, prefix: str = "u") -> list[Utterance]:
    """Parts of one file of noise, with letters that need UTF-8."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}.wav"
    audio.write_wav(path, np.random.default_rng(n).uniform(-0.5, 0.5, 16_000 * (n + 1)))
    return [
        Utterance(
            id=f"{prefix}-{i}",
            audio=path,
            start_s=i * 1.0,
            duration_s=0.5 + i / 16_000,
            text=f"Řádek číslo {i}, {prefix}",
            language="cs",
            speaker=None if i % 2 else f"spk{i % 3}",
            group=f"scene {i // 2}",
            custom={"translation_en": f"line {i}"},
        )
        for i in range(n)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    splits = {
        "train": utterances(tmp_path / "in", 6, "a"),
        "test": utterances(tmp_path / "in", 3, "b"),
    }
    return write_corpus(tmp_path / "corpus", splits, Card(language="cs", licence="CC0-1.0"))


def test_what_goes_in_comes_out(tmp_path: Path, corpus: Corpus) -> None:
    expected = utterances(tmp_path / "in", 6, "a")
    train = corpus.split("train")
    assert list(train) == expected
    assert [train[i] for i in range(len(train))] == expected
    assert train[-1] == expected[-1] and train[1:3] == expected[1:3]
    with pytest.raises(IndexError):
        train[6]
    assert corpus.splits == ["train", "test"]
    np.testing.assert_allclose(train.durations_s, [u.duration_s for u in expected], rtol=1e-6)
    assert train.durations_s.dtype == np.float32 and train.n_symbols.dtype == np.int32
    assert list(train.n_symbols) == [len(u.text) for u in expected]
    whole = audio.decode(expected[0].audio)
    np.testing.assert_array_equal(train[2].load(), whole[32_000 : 32_000 + 8002])


def test_the_card_counts(corpus: Corpus) -> None:
    train = corpus.card.splits["train"]
    assert (train.utterances, train.groups, train.speakers) == (6, 3, 3)
    assert train.minutes == pytest.approx((6 * 0.5 + 15 / 16_000) / 60, abs=1e-4)
    assert train.symbols == sum(len(u.text) for u in corpus.split("train"))
    assert corpus.card.alphabet["ř"] == 6 and "B" not in corpus.card.alphabet
    assert corpus.card.splits["test"].unseen == ["b"]
    again = Card.read(corpus.path / "card.json")
    assert again == corpus.card


def test_lhotse_reads_the_same(corpus: Corpus) -> None:
    """The independent implementation: its own loader, validation and audio."""
    from lhotse import CutSet
    from lhotse.qa import validate

    cuts = CutSet.from_file(corpus.path / "train.jsonl").with_recording_path_prefix(corpus.path)
    validate(cuts)
    for cut, utterance in zip(cuts, corpus.split("train"), strict=True):
        (supervision,) = cut.supervisions
        assert (cut.id, cut.start) == (utterance.id, utterance.start_s)
        assert cut.duration == pytest.approx(utterance.duration_s, abs=1e-6)
        assert (supervision.text, supervision.speaker) == (utterance.text, utterance.speaker)
        assert supervision.language == "cs"
        assert cut.custom["translation_en"] == utterance.custom["translation_en"]
        assert cut.custom["group"] == utterance.group
        np.testing.assert_allclose(cut.load_audio()[0], utterance.load(), atol=1e-6)


def test_a_corpus_can_be_moved(tmp_path: Path) -> None:
    with staging(tmp_path / "here", overwrite=False) as folder:
        inside = utterances(folder / "audio", 2)
        write_manifests(folder, {"train": inside}, Card("cs"), Quarantine())
    here = Corpus.open(tmp_path / "here")
    sha256 = here.sha256
    shutil.move(tmp_path / "here", tmp_path / "there")
    there = Corpus.open(tmp_path / "there")
    assert there.sha256 == sha256
    assert there.split("train")[1].load().shape == (8001,)
    there.verify()


def test_a_split_travels_to_other_processes(corpus: Corpus) -> None:
    train = pickle.loads(pickle.dumps(corpus.split("train")))  # noqa: S301
    assert train[3] == corpus.split("train")[3]


def test_the_hash_sees_every_change(tmp_path: Path, corpus: Corpus) -> None:
    originals = {name: list(corpus.split(name)) for name in corpus.splits}
    seen = {corpus.sha256}
    changes: list[dict[str, Any]] = [
        {"text": "Jiná řádka"},
        {"duration_s": 0.4},
        {"group": "jiná"},
        {"custom": {"samples_sha256": "0"}},
    ]
    for i, change in enumerate(changes):
        train = [replace(originals["train"][0], **change), *originals["train"][1:]]
        other = write_corpus(tmp_path / f"c{i}", {**originals, "train": train}, Card("cs"))
        seen.add(other.sha256)
    same = write_corpus(tmp_path / "same", originals, Card("cs"))
    assert same.sha256 == corpus.sha256
    assert len(seen) == 1 + len(changes)


N_LINES = 200_000


def many(path: Path) -> Iterator[Utterance]:
    for i in range(N_LINES):
        yield Utterance(f"id{i}", path, 0.0, 1.0 + i % 7, f"text {i}", "cs", None, f"g{i % 99}")


def test_a_large_corpus_opens_at_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    audio.write_wav(path, np.full(16_000 * 8, 0.1))
    write_corpus(tmp_path / "corpus", {"train": many(path)}, Card("cs"))
    size = (tmp_path / "corpus" / "train.jsonl").stat().st_size
    assert size > 80e6
    tracemalloc.start()
    train = Corpus.open(tmp_path / "corpus").split("train")
    picked = [train[i] for i in (0, 1, N_LINES // 2, N_LINES - 1)]
    total = float(train.durations_s.sum(dtype=np.float64))
    batch = train[100_000:100_032]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6  # the index alone is 3.2 MB; nothing may read it in
    assert [u.id for u in picked] == ["id0", "id1", "id100000", "id199999"]
    assert total == sum(1.0 + i % 7 for i in range(N_LINES))
    assert batch[31].text == "text 100031"


# --- refusals -------------------------------------------------------------------------------


def test_folders_that_are_no_corpus(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="xlasr prepare"):
        Corpus.open(tmp_path / "nothing")
    with pytest.raises(CorpusError, match=r"has no card\.json"):
        Corpus.open(tmp_path / "in")
    with pytest.raises(UnknownName, match="Known: test, train"):
        corpus.split("tset")


def test_an_edited_manifest_is_noticed(corpus: Corpus) -> None:
    file = corpus.path / "test.jsonl"
    content = file.read_text("utf-8")
    file.write_text(content.replace("číslo 1", "čísla 1"), "utf-8")
    with pytest.raises(CorpusError, match="differs from its card"):
        Corpus.open(corpus.path).verify()
    file.write_text(content + "\n", "utf-8")
    with pytest.raises(CorpusError, match="changed after the corpus was written"):
        Corpus.open(corpus.path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("card.json", b"{"),
        ("card.json", b"[]"),
        ("card.json", b'{"format": 99}'),
        ("card.json", b'{"language": "cs", "colour": 1}'),
        ("card.json", b'{"language": "cs", "splits": {"train": {"minutes": 1}}}'),
        ("train.index.npy", b"not numpy"),
        ("train.index.npy", None),
        ("train.jsonl", None),
    ],
)
def test_damaged_files_are_corpus_errors(corpus: Corpus, name: str, content: bytes | None) -> None:
    file = corpus.path / name
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CorpusError, match=r"card\.json|train"):
        Corpus.open(corpus.path)


def test_a_pickled_index_is_never_read(corpus: Corpus) -> None:
    np.save(corpus.path / "train.index.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorpusError, match="damaged"):
        Corpus.open(corpus.path)


def test_a_damaged_line_names_its_file(corpus: Corpus) -> None:
    file = corpus.path / "train.jsonl"
    content = bytearray(file.read_bytes())
    content[1:9] = b"########"
    file.write_bytes(content)
    train = Corpus.open(corpus.path).split("train")
    assert train[1].id == "a-1"
    with pytest.raises(CorpusError, match=r"train\.jsonl: a damaged line"):
        train[0]


def test_ids_are_unique_over_all_splits(tmp_path: Path) -> None:
    one = utterances(tmp_path / "in", 2)
    with pytest.raises(CorpusError, match="two utterances have the id 'u-0'"):
        write_corpus(tmp_path / "corpus", {"train": one, "dev": one[:1]}, Card("cs"))
    with pytest.raises(CorpusError, match="not a single utterance"):
        write_corpus(tmp_path / "corpus", {"train": []}, Card("cs"))
    with pytest.raises(UsageError, match="unknown splits valid"):
        write_corpus(tmp_path / "corpus", {"valid": one}, Card("cs"))
    # No half corpus, and no rubbish beside it.
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_nothing_is_overwritten_by_accident(tmp_path: Path, corpus: Corpus) -> None:
    one = {"train": utterances(tmp_path / "in", 1, "z")}
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is no corpus"):
            write_corpus(precious, one, Card("cs"), overwrite=overwrite)
    with pytest.raises(UsageError, match="a corpus is there already"):
        write_corpus(corpus.path, one, Card("cs"))
    assert len(Corpus.open(corpus.path).split("train")) == 6
    (tmp_path / "empty").mkdir()
    write_corpus(tmp_path / "empty", one, Card("cs"))
    again = write_corpus(corpus.path, one, Card("cs"), overwrite=True)
    assert len(again.split("train")) == 1 and again.splits == ["train"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_failed_overwrite_leaves_the_old_corpus(tmp_path: Path, corpus: Corpus) -> None:
    def failing() -> Iterator[Utterance]:
        yield utterances(tmp_path / "in", 1, "z")[0]
        raise KeyboardInterrupt

    before = corpus.sha256
    with pytest.raises(KeyboardInterrupt):
        write_corpus(corpus.path, {"train": failing()}, Card("cs"), overwrite=True)
    Corpus.open(corpus.path).verify()
    assert Corpus.open(corpus.path).sha256 == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_full_disk_is_an_error_with_advice(tmp_path: Path) -> None:
    def full() -> Iterator[Utterance]:
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(CorpusError, match="No space left on device"):
        write_corpus(tmp_path / "corpus", {"train": full()}, Card("cs"))
    assert not list(tmp_path.iterdir())


def test_manifest_lines_are_plain_json(corpus: Corpus) -> None:
    lines = (corpus.path / "train.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"a-{i}" for i in range(6)]
    assert "Řádek" in lines[0]
