"""Where each letter of a transcript was said: what an alignment-restricted loss is held to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xlasr.alignment.words import word_timer
from xlasr.models.run import SpeechModel


def letter_timer(
    model: SpeechModel,
) -> Callable[[NDArray[np.float32], str], tuple[float, ...] | None]:
    """Return what finds the ends of all characters of a clip's transcript.

    Words are timed by forced alignment; inside of a word all letters are taken to last equally
    long, and a space ends where the word before it does. What it returns takes samples, float32
    (n_samples,) mono 16 kHz, and their text; it gives seconds from the start of the clip, or None
    where the text cannot be that of the sound: no letter that the model knows, or more letters
    than frames.

    Raises:
        UsageError: The model is no CTC model.
    """
    timed = word_timer(model)

    def ends(samples: NDArray[np.float32], text: str) -> tuple[float, ...] | None:
        words = timed(samples, text)
        if not words:
            return None
        found: list[float] = []
        at, last_s = 0, words[0].start_s
        for number, written in enumerate(text.split(" ")):
            if number:
                found.append(last_s)
            if at < len(words) and words[at].text == written:
                word, n = words[at], len(written)
                span = word.end_s - word.start_s
                found += [max(last_s, word.start_s + span * (i + 1) / n) for i in range(n)]
                last_s, at = found[-1], at + 1
            else:  # no letter of it is known: it is somewhere behind the word before
                found += [last_s] * len(written)
        return tuple(found)

    return ends
