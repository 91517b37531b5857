"""Runs on disk, planted by hand: real scores, real metrics, no model behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from xlasr.data import audio
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.writing import write_corpus
from xlasr.scoring import score

SAID = {f"s{i % 5}.{i}": f"dobrý den pane číslo {i}" for i in range(20)}
GROUPS = {key: key.split(".")[0] for key in SAID}
TRAIN = ("dobrý den", "dobrý den", "pane") * 3


def heard(wrong: int, said: Mapping[str, str] = SAID) -> dict[str, str]:
    """Hypotheses whose first ``wrong`` lines have one letter and one word wrong each."""
    return {
        key: text.replace("dobrý", "dobry").replace("den", "") if i < wrong else text
        for i, (key, text) in enumerate(said.items())
    }


def corpus_at(path: Path, texts: Sequence[str] = TRAIN) -> Corpus:
    sound = path.parent / f"{path.name}.wav"
    audio.write_wav(sound, np.zeros(16_000 * len(texts)))
    return write_corpus(
        path,
        {
            "train": [
                Utterance(f"t{i}", sound, i * 1.0, 0.5, text, "cs", "anna", f"g{i}")
                for i, text in enumerate(texts)
            ]
        },
        Card("cs", source="planted", licence="CC0-1.0", warnings=["one voice only"]),
    )


def run_at(
    folder: Path,
    wrong: int = 5,
    *,
    seed: int = 0,
    minutes: float = 60.0,
    trained: int = 1_000_000,
    base_wrong: int | None = 20,
    corpus: Corpus | None = None,
    said: Mapping[str, str] = SAID,
    name: str = "test",
    split_sha256: str = "feed" * 16,
    metrics: bool = True,
    stages: Sequence[Mapping[str, Any]] | None = None,
    recipe: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a finished, evaluated run; ``more`` goes into the evaluation."""
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "model.safetensors").write_bytes(b"x" * 1_500_000)
    (folder / "evaluations").mkdir(exist_ok=True)
    plan = {
        "name": "ctc",
        "description": "planted",
        "stages": [{"name": "adapt", "data": [{"path": "main", "minutes": None}], "lr": 0.1}],
        "decode": {"beam": 1},
        **(recipe or {}),
    }
    stage = {
        "stage": "adapt",
        "updates": 40,
        "dev_cer": 0.25,
        "trainable_parameters": trained,
        "parameters": 2_000_000,
        "train_minutes": minutes,
    }
    facts = {
        "recipe": plan["name"],
        "base": {"name": "whisper-tiny.en", "sha256": "b" * 64, "model_type": "whisper"},
        "corpus": {
            "path": str(corpus.path if corpus else folder / "gone"),
            "sha256": corpus.sha256 if corpus else "c" * 64,
        },
        "language": "cs",
        "seed": seed,
        "environment": {
            "command": "xlasr adapt corpus --out run",
            "commit": "0123456789ab",
            "versions": {"torch": "2.13.0"},
        },
        "stages": list(stages or [stage]),
        "cost": {"wall_s": 120.0, "cpu_s": 200.0, "peak_memory_mb": 900},
    }
    groups = {key: key.split(".")[0] for key in said}
    adapted = score(said, heard(wrong, said), groups)
    base = None if base_wrong is None else score(said, heard(base_wrong, said), groups)
    evaluation = {
        "corpus": facts["corpus"]["path"],  # type: ignore[index]
        "split": "test",
        "split_sha256": split_sha256,
        "decode": {"beam": 4, "lm_order": 0, "lm_text": []},
        "adapted": adapted.to_dict(),
        "base": None if base is None else base.to_dict(),
        **more,
    }
    rows = [
        {"stage": "adapt", "update": u, "audio_s": 30.0 * u, "dev_cer": 8.0 / u}
        for u in (10, 20, 40)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows) if metrics else ""
    (folder / "metrics.jsonl").write_text(text + '{"half', encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    path = folder / "evaluations" / f"{name}.json"
    path.write_text(json.dumps(evaluation, ensure_ascii=False), encoding="utf-8")
    return folder
