"""What encoders that work in segments share: the checks of a state, and small tools for masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xlasr.errors import UsageError


def check_segment(frames: Tensor, config: Any, state: Any) -> None:
    """Refuse a segment that does not go with the state, or a state that is of another model.

    Args:
        frames: (B, segment + right context, ...).
        config: Of the model: ``segment_frames``, ``right_frames``, ``stack`` and whatever else.
        state: With a config of its own, and ``positions`` (B,) heard so far.

    Raises:
        UsageError: With what differs.
    """
    found_config, positions = state.config, state.positions
    if found_config != config:
        if type(found_config) is not type(config):
            differ = [f"a {type(found_config).__name__} (here {type(config).__name__})"]
        else:
            differ = [
                f"{name} {getattr(found_config, name)!r} (here {value!r})"
                for name, value in vars(config).items()
                if getattr(found_config, name) != value
            ]
        raise UsageError(
            f"this streaming state is of another model: {', '.join(differ)}. Begin a stream with "
            "the model that goes on with it"
        )
    if len(positions) != len(frames):
        raise UsageError(
            f"the state is of {len(positions)} streams, and {len(frames)} segments were given"
        )
    if (wanted := config.segment_frames + config.right_frames) != frames.shape[1]:
        raise UsageError(
            f"a segment with its right context has {wanted} frames; {frames.shape[1]} were given"
        )
    if bool((positions % (config.segment_frames // config.stack)).any()):
        raise UsageError("a stream ended with its last, shorter segment; begin a new one")


def newest(kept: Tensor, new: Tensor, n: int) -> Tensor:
    """The last ``n`` of what was kept and what is new, along axis 1."""
    both = torch.cat((kept, new.to(kept.dtype)), 1)
    return both[:, both.shape[1] - n :]


def never_nothing(allowed: Tensor) -> Tensor:
    """Let padding that may look at nothing look at everything: its softmax would be NaN.

    Args:
        allowed: (B, Q, K).
    """
    return allowed | ~allowed.any(2, keepdim=True)
