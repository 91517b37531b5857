"""Frozen parts are computed once: their output on disk, by clip.

Every clip is computed alone, so that what is read back does not depend on which batch asked first
and a resumed run sees the same bits.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from xlasr.models.encoders import Features
from xlasr.models.run import SpeechModel


class FrozenCache:
    """Encoder states behind the last frozen layer, one safetensors file a clip.

    Args:
        folder: Where they lie; made when needed.
        key: What they depend on (weights, layer, context, precision, corpus); another key is
            another folder.
        layer: Layers that are behind the states.
        limit_bytes: No more is written past this size; later clips are computed each time.
    """

    def __init__(self, folder: Path, key: dict[str, object], layer: int, limit_bytes: int) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / digest
        self.folder.mkdir(parents=True, exist_ok=True)
        self.layer = layer
        self.limit_bytes = limit_bytes
        self.bytes = sum(p.stat().st_size for p in self.folder.glob("*.safetensors"))
        self.hits = 0
        self.misses = 0

    def states(self, model: SpeechModel, features: Features, names: list[str]) -> Tensor:
        """States (B, T', D) of a batch, read or computed.

        Args:
            model: In evaluation mode below ``layer`` (nothing there may drop out).
            features: Of the batch.
            names: One name a clip, unique in the corpus and context.
        """
        from safetensors.torch import load_file, save_file

        found = []
        for row, name in enumerate(names):
            path = self.folder / f"{name}-{features.values.shape[-1]}.safetensors"
            if path.exists():
                self.hits += 1
                found.append(load_file(str(path))["states"].float())
                continue
            self.misses += 1
            pad = None if features.is_pad is None else features.is_pad[row : row + 1]
            one = Features(features.values[row : row + 1], features.input_lens[row : row + 1], pad)
            states = model.encoder.lower(one, self.layer)[0].half()
            size = states.numel() * 2
            if self.bytes + size <= self.limit_bytes:
                temporary = path.with_suffix(".tmp")
                save_file({"states": states.contiguous().cpu()}, str(temporary))
                temporary.rename(path)
                self.bytes += size
            found.append(states.float())
        return torch.stack(found)
