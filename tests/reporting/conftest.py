"""A small evaluation with everything a report shows, and hostile text in every field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xlasr.reporting.html import ReportData
from xlasr.scoring import Score, score

EVIL = "<script>alert('x')</script> & \"quoted\" </style><img src=x onerror=alert(1)> {{ 7*7 }}"
LINES = {  # id: said, heard by the adapted model, heard by the base
    "airplane.1": (
        "Co je to za divnou loď?",
        "co je za divnou lod velkou",
        "So yet there's a dunlot.",
    ),
    "airplane.2": ("To je vrak letadla.", "to je vrak letadla", "Too yet rock."),
    "cabin.1": ("Vidíš to oko?", "vidíš oko", "Viddish to oco"),
    "cabin.2": ("Ano.", "", "I know."),
    "cellar.1": ("Němý svědek tragédie", "němý svědek tragédie", "Nemi svedek"),
}


def scored(column: int, normaliser: str = "headline") -> Score:
    return score(
        {key: row[0] for key, row in LINES.items()},
        {key: row[column] for key, row in LINES.items()},
        {key: key.split(".")[0] for key in LINES},
        normaliser,
    )


def metrics() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for stage, updates in (("head", 20), ("full", 40)):
        for update in range(10, updates + 1, 10):
            seconds = 30.0 * update
            rows.append({"stage": stage, "update": update, "audio_s": seconds, "loss": 5 / update})
            if update % 20 == 0:
                rows.append(
                    {"stage": stage, "update": update, "audio_s": seconds, "train_loss": 3.0}
                    | {"dev_loss": 4 / update, "dev_cer": 8 / update, "dev_wer": 16 / update}
                )
    return rows


@pytest.fixture
def make_data() -> Callable[..., ReportData]:
    def make(**changes: Any) -> ReportData:
        stage = {
            "stage": "head",
            "updates": 20,
            "audio_s": 600.0,
            "trainable_parameters": 1_234_567,
            "parameters": 4_938_268,
            "best_update": 20,
            "dev_cer": 0.4,
            "train_minutes": 65.4,
            "train_clips": 1128,
            "left_out": [{"longer than 30 s": 1}],
        }
        content: dict[str, Any] = {
            "title": "whisper-tiny.en → cs",
            "command": "xlasr adapt corpus --out run",
            "adapted": scored(1),
            "base": scored(2),
            "adapted_raw": scored(1, "raw"),
            "base_raw": scored(2, "raw"),
            "card": {
                "language": "cs",
                "licence": "GPL-2.0-only",
                "splits": {"train": {"minutes": 1.0}, "test": {"minutes": 0.2, "unseen": ["q"]}},
                "alphabet": {" ": 9, "ř": 3},
                "warnings": ["6 speakers on more than one side"],
                "quarantined": {"missing audio": 139},
            },
            "recipe_yaml": "name: whisper-full\n",
            "metrics": metrics(),
            "events": [
                {"guard": "overfitting", "update": 20, "message": "dev rises", "action": "kept"}
            ],
            "summary": {
                "base": {"name": "whisper-tiny.en", "sha256": "abc"},
                "seed": 0,
                "environment": {"versions": {"torch": "2.13.0"}, "commit": "0123456789ab"},
                "stages": [stage],
                "cost": {"wall_s": 100.0, "cpu_s": 180.0, "peak_memory_mb": 2093},
            },
            "decode": {"beam": 4, "lm_text": []},
        }
        return ReportData(**{**content, **changes})

    return make
