"""Frozen parts are computed once: their output on disk, by clip.

Every clip is computed alone, so that what is read back does not depend on which batch asked first
and a resumed run sees the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
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

    def states(
        self, model: SpeechModel, features: Features, names: list[str], *, keep: bool = True
    ) -> Tensor:
        """States (B, T', D) of a batch, read or computed; shorter clips are zero-padded.

        Args:
            model: In evaluation mode below ``layer`` (nothing there may drop out).
            features: Of the batch.
            names: One name a clip, unique in the corpora of the key.
            keep: Whether this context comes again, so that writing it down pays.
        """
        found = []
        for row, name in enumerate(names):
            values, pad = features.values[row : row + 1], None
            length = values.shape[-1]
            if features.is_pad is not None:
                # without its padding a clip has the same states in every batch
                length = int((~features.is_pad[row]).sum())
                values, pad = values[:, :length], features.is_pad[row : row + 1, :length]
            path = self.folder / f"{name}-{length}.safetensors"
            states = self._read(path)
            if states is None:
                self.misses += 1
                one = Features(values, features.input_lens[row : row + 1], pad)
                states = _compact(model.encoder.lower(one, self.layer)[0])
                if keep:
                    self._write(path, states)
            else:
                self.hits += 1
            found.append(states.to(features.values.device).float())
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)

    def _read(self, path: Path) -> Tensor | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(str(path))["states"]
        except (OSError, SafetensorError, KeyError):
            return None  # not there yet, or damaged: computed (again)

    def _write(self, path: Path, states: Tensor) -> None:
        from safetensors.torch import save

        blob = save({"states": states.contiguous().cpu()})
        if self.bytes + len(blob) > self.limit_bytes:
            return
        # the process in the name: two runs may fill one cache at the same time
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(blob)
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            self.limit_bytes = 0  # the disk is full; a cache is not worth a run
            return
        self.bytes += len(blob)


def _compact(states: Tensor) -> Tensor:
    """Half precision where the numbers fit, the same whether they are read or just computed."""
    half = states.half()
    return half if bool(torch.isfinite(half).all()) else states.float()
