"""Speech to text while it is spoken: partial texts, and final ones where an utterance ends.

``StreamDecoder`` takes samples in pieces of any size. Encoder and search work segment by segment,
and end-points are looked for behind each segment and nowhere else, so that the same audio gives the
same texts and times however it is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xlasr.data.annotations import TimedText
from xlasr.data.annotations.document import confidence_of
from xlasr.decoding.hypothesis import Hypothesis
from xlasr.decoding.recognise import DecodeOptions, Search, token_confidence
from xlasr.errors import RunError, UsageError
from xlasr.features.logmel import SAMPLE_RATE
from xlasr.models.heads import turn_to
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.streaming import StreamingEncoder


@dataclass(frozen=True)
class EndPoints:
    """When an utterance has ended; whichever comes first. Looked at behind every segment.

    Silence is what the decoder writes nothing in, so noise is silence and a slow model is not.

    Source: the three rules of Kaldi's ``online-endpoint.h`` that sherpa keeps, and the latter's
        numbers.

    Args:
        pause_s: Silence behind a text.
        silence_s: Silence without a text.
        longest_s: Of the whole utterance; a word may be cut.

    Raises:
        UsageError: One of them is no time.
    """

    pause_s: float = 1.2
    silence_s: float = 2.4
    longest_s: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isfinite(value) and value > 0):
                raise UsageError(f"end-point {name} is {value}; give seconds above 0")


@dataclass(frozen=True)
class Heard(TimedText):
    """A text of a stream; times in seconds from the begin of the stream.

    A word begins with the encoder position that its first symbol was written at, and ends with that
    of its last one. These are places in the audio, not moments at which it was known: the
    algorithmic latency is not in them. How late a model writes a word that it has heard is not
    taken off; for CTC and transducers that is some tenths of a second. The confidence, of final
    texts, is that of ``recognise.Recognised``.

    Args:
        is_final: It will not change any more; else a later one, partial or final, replaces it.
    """

    is_final: bool = True

    def as_json(self) -> dict[str, Any]:
        """What ``xlasr transcribe --stream --json`` writes a line of."""
        return {
            "kind": "final" if self.is_final else "partial",
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "text": self.text,
            **confidence_of(self),
            "words": [
                {"word": w.text, "start_s": round(w.start_s, 3), "end_s": round(w.end_s, 3)}
                for w in self.words
            ],
        }


class StreamDecoder:
    """Texts of one stream. Begin another one for every stream; they may share a model.

    What it keeps does not grow with the stream: a final text is given away and forgotten.

    Args:
        model: In evaluation mode, with an encoder that streams.
        options: How to decode; default: greedy.
        end_points: When an utterance has ended; default: those of ``EndPoints``.
        language: Whose head writes, where languages have heads of their own; None is the one that
            is active now.

    Raises:
        RunError: The model hears whole clips only, or was trained without text.
    """

    def __init__(
        self,
        model: SpeechModel,
        options: DecodeOptions | None = None,
        end_points: EndPoints | None = None,
        language: str | None = None,
    ) -> None:
        if isinstance(model, Seq2SeqModel) or not isinstance(model.encoder, StreamingEncoder):
            base = model.info["base"]["name"]
            raise RunError(
                f"this model ({model.family} on {base}) hears whole clips and cannot stream. "
                "Models that can: those adapted from emformer-small or emformer-20 (families ctc "
                "and transducer), and Whisper cut into chunks (a recipe with context.chunk, family "
                "ctc). Transcribe recordings without --stream"
            )
        if not model.tokenizer.symbols:
            raise RunError("this model was trained without text: it has no letters to write with")
        encoder = model.encoder
        self.model, self.options = model, options or DecodeOptions()
        self.end_points = end_points or EndPoints()
        self.language = language or str(model.info["language"])
        self.encoder = encoder
        self.position_s = encoder.samples_per_position / SAMPLE_RATE
        self._stream = encoder.stream()
        self._segment = encoder.shape.segment_frames // encoder.shape.stack
        self._limit = encoder.max_stream_positions  # of a stream without a restart
        self._search = Search(model, self.options)
        self._first = 0  # position of the stream at which the utterance began
        self._shown = ""

    def push(self, samples: NDArray[np.float32]) -> list[Heard]:
        """Take the next samples.

        Args:
            samples: (n,) float32 at 16 kHz, any number.

        Returns:
            What is new, in order: final texts, and partial ones where they have changed.

        Raises:
            DataError: A sample is not a finite number; nothing of the piece was taken.
            UsageError: The stream was flushed.
        """
        return [heard for found in self.segments(samples) for heard in found]

    def flush(self) -> list[Heard]:
        """End the stream: what is left of it, and the last final text.

        Raises:
            UsageError: The stream was flushed before.
        """
        return [heard for found in self.last_segments() for heard in found]

    def segments(self, samples: NDArray[np.float32]) -> Iterator[list[Heard]]:
        """``push``, segment by segment: each is computed when it is asked for (and may be timed).

        Raises:
            DataError: A sample is not a finite number; nothing of the piece was taken.
            UsageError: The stream was flushed.
        """
        turn_to(self.model, self.language)
        return self._decoded(self._stream.segments(samples))

    def last_segments(self) -> Iterator[list[Heard]]:
        """``flush``, segment by segment.

        Raises:
            UsageError: The stream was flushed before.
        """
        turn_to(self.model, self.language)
        yield from self._decoded(self._stream.last_segments())
        if final := self._end():
            yield final

    def _decoded(self, segments: Iterator[Tensor]) -> Iterator[list[Heard]]:
        for states in segments:
            self._search.push(states)  # in segments, never more, or sums would be rounded otherwise
            best = self._search.hypotheses(ended=False)[0]
            yield self._end() if self._has_ended(best) else self._partial(best)

    def _has_ended(self, best: Hypothesis) -> bool:
        n = self._search.n_frames
        silent = n - (best.frames[-1] + 1 if best.frames else 0)
        enough_s = self.end_points.pause_s if best.tokens else self.end_points.silence_s
        longest = self.end_points.longest_s / self.position_s
        if self._limit is not None:
            longest = min(longest, self._limit)  # it began anew with the utterance
        return (
            self._search.stuck
            or silent * self.position_s >= enough_s - 1e-9
            or n + self._segment > longest
        )

    def _partial(self, best: Hypothesis) -> list[Heard]:
        text = self._text(best)
        if text == self._shown:
            return []
        self._shown = text
        return [self._heard(best, is_final=False)]

    def _end(self) -> list[Heard]:
        """Give the text away, and begin the next utterance where this one ends."""
        heard = self._heard(self._search.hypotheses()[0], is_final=True)
        was_shown, self._shown = self._shown, ""
        self._first += self._search.n_frames
        self._search = Search(self.model, self.options)
        if self._limit is not None:
            self._stream.frames.restart()
        return [heard] if heard.text or was_shown else []

    def _heard(self, found: Hypothesis, *, is_final: bool) -> Heard:
        words = timed_words(
            self.model.tokenizer.decode, found.tokens, found.frames or [], self.position_s
        )
        begin_s = self._first * self.position_s
        moved = [TimedText(begin_s + w.start_s, begin_s + w.end_s, w.text) for w in words]
        start_s, end_s = (moved[0].start_s, moved[-1].end_s) if moved else (begin_s, begin_s)
        sure = token_confidence(found, has_end=False) if is_final else None
        return Heard(start_s, end_s, self._text(found), moved, confidence=sure, is_final=is_final)

    def _text(self, found: Hypothesis) -> str:
        return self.model.tokenizer.decode(found.tokens).strip()


def timed_words(
    decode: Callable[[list[int]], str], tokens: list[int], frames: list[int], position_s: float
) -> list[TimedText]:
    """Words of a text, from the frame of the first symbol to that of the last one.

    Args:
        decode: Tokens to text.
        tokens: Letters or pieces; a space belongs to no word.
        frames: Encoder position of each.
        position_s: Seconds from one to the next.
    """
    spans: list[tuple[int, int]] = []
    before = ""
    for n, frame in enumerate(frames, start=1):
        text = " ".join(decode(tokens[:n]).split())
        if text == before:  # nothing but a space
            continue
        for _ in range(text.count(" ") + 1 - len(spans)):
            spans.append((frame, frame))
        spans[-1] = (spans[-1][0], frame)
        before = text
    return [
        TimedText(first * position_s, (last + 1) * position_s, word)
        for word, (first, last) in zip(before.split(), spans, strict=True)
    ]
