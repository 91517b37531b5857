"""Makes ``emformer.json``: what torchaudio's Emformer gives for weights made by a formula.

``python tests/models/data/make_emformer_golden.py PATH/TO/torchaudio/models/emformer.py``, with
that one file from torchaudio's wheel (2.11.0; BSD-2-Clause). It is plain Python and is loaded
alone: torchaudio itself is not installed, and not needed to run the tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CASES: dict[str, dict[str, Any]] = {
    "plain": {"segment": 4, "left": 6, "right": 1, "memory": 0, "lens": [11, 7]},
    "memory": {"segment": 3, "left": 5, "right": 2, "memory": 2, "lens": [14]},
    "clamped memory": {
        "segment": 2, "left": 1, "right": 1, "memory": 3, "lens": [10, 10], "tanh": False,
        "scale": 12.0,
    },
    "memory instead of left context": {
        "segment": 2, "left": 0, "right": 0, "memory": 4, "lens": [9]
    },
}  # fmt: skip
DIM, HEADS, FFN, LAYERS, SEGMENTS = 8, 2, 12, 3, 4
FULL = (512, 8, 2048, 20)


def noise(*shape: int, number: int) -> Tensor:
    """Numbers between -1 and 1 that every machine makes alike."""
    n = torch.Size(shape).numel()
    at = torch.arange(1, n + 1, dtype=torch.float64)
    return torch.sin(at**2 * 0.731 + 1.7 * number).float().reshape(shape)


def weights(shapes: dict[str, torch.Size], scale: float = 1.0) -> dict[str, Tensor]:
    """Weights by torchaudio's names; ``scale`` is that of the attention's output."""
    found = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        value = noise(*shape, number=number)
        if name.endswith("out_proj.weight"):
            found[name] = 0.6 * scale * value
        elif "layer_norm" in name or "pos_ff.0" in name:
            found[name] = (1.0 if name.endswith("weight") else 0.0) + 0.2 * value
        else:
            found[name] = 0.6 * value
    return found


def inputs(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What ``forward`` gets (zero behind each clip), and the stream that ``infer`` gets."""
    lens, right = case["lens"], case["right"]
    whole = noise(len(lens), max(lens) + right, DIM, number=50)
    if len(set(lens)) > 1:
        for row, n in enumerate(lens):
            whole[row, n:] = 0
    return whole, noise(2, SEGMENTS * case["segment"] + right, DIM, number=60)


def main(path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("reference", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    with torch.device("meta"):
        full = reference.Emformer(*FULL, 4)
    golden: dict[str, Any] = {"parameters": sum(p.numel() for p in full.parameters())}
    for name, case in CASES.items():
        model = reference.Emformer(
            DIM, HEADS, FFN, LAYERS, case["segment"],
            activation="gelu",
            left_context_length=case["left"],
            right_context_length=case["right"],
            max_memory_size=case["memory"],
            tanh_on_mem=case.get("tanh", True),
        ).eval()  # fmt: skip
        shapes = {n: p.shape for n, p in model.state_dict().items()}
        model.load_state_dict(weights(shapes, case.get("scale", 1.0)))
        whole, stream = inputs(case)
        size, right = case["segment"], case["right"]
        with torch.no_grad():
            forward, _ = model(whole, torch.tensor(case["lens"]))
            pieces, states = [], None
            lens = torch.tensor([size + right] * len(stream))
            for at in range(0, SEGMENTS * size, size):
                piece, _, states = model.infer(stream[:, at : at + size + right], lens, states)
                pieces.append(piece)
        golden[name] = {
            "forward": [[round(v, 6) for v in row.flatten().tolist()] for row in forward],
            "infer": [
                [round(v, 6) for v in row.flatten().tolist()] for row in torch.cat(pieces, 1)
            ],
        }
    Path(__file__).with_name("emformer.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
