"""From clips to text with any model: the one way that training, evaluation and serving share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xlasr.decoding import beam as seq2seq_beam
from xlasr.decoding import ctc, seq2seq, transducer
from xlasr.decoding.hypothesis import Hypothesis, LanguageModel
from xlasr.errors import RunError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.transducer import Transducer

Clip = NDArray[np.float32]


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode; beam width and weights are chosen on dev.

    Args:
        beam: 1 is greedy.
        lm: A language model over the model's own tokens, or None.
        lm_weight: Of its log-probability.
        length_bonus: Added for each token.
        batch_s: Seconds of padded audio decoded together.
        full_context: Give Whisper's encoder the whole 30 s, as other runtimes do.
        one_a_frame: A transducer's beam writes at most one symbol in a frame, as one of the
            modified topology must: four times as fast, and nearly the same lists.
    """

    beam: int = 1
    lm: LanguageModel | None = None
    lm_weight: float = 0.0
    length_bonus: float = 0.0
    batch_s: float = 60.0
    full_context: bool = False
    one_a_frame: bool = False

    @property
    def is_greedy(self) -> bool:
        """Neither a beam nor a language model."""
        return self.beam == 1 and self.lm is None


class Search:
    """The search over encoder states that a model and options ask for; states come in pieces.

    Args:
        model: A CTC model or a transducer, in evaluation mode.
        options: See there.
    """

    def __init__(self, model: CTCModel | Transducer, options: DecodeOptions) -> None:
        self._head = ctc_head(model)
        self._search: (
            ctc.GreedySearch | ctc.BeamSearch | transducer.GreedySearch | transducer.BeamSearch
        )
        fused: dict[str, Any] = {
            "beam": options.beam,
            "lm": options.lm,
            "lm_weight": options.lm_weight,
            "length_bonus": options.length_bonus,
        }
        if self._head is not None:
            greedy = ctc.GreedySearch()
            self._search = greedy if options.is_greedy else ctc.BeamSearch(**fused)
        else:
            modified = cast(Transducer, model).shape.modified
            self._search = (
                transducer.GreedySearch(model, modified=modified)
                if options.is_greedy
                else transducer.BeamSearch(model, modified=modified or options.one_a_frame, **fused)
            )

    @torch.inference_mode()
    def push(self, states: Tensor) -> None:
        """Take the next encoder states (n, D), any number."""
        self._search.push(states if self._head is None else self._head(states).cpu())

    @property
    def n_frames(self) -> int:
        """States taken."""
        return self._search.n_frames

    @property
    def stuck(self) -> bool:
        """Whether it loops: what comes is not decoded any more."""
        return self._search.stuck

    def hypotheses(self, n_best: int = 1, *, ended: bool = True) -> list[Hypothesis]:
        """The best texts so far; ``ended``: the language model is asked whether they end here."""
        return self._search.hypotheses(n_best, ended=ended)


@dataclass(frozen=True)
class Recognised:
    """One clip's transcript.

    Args:
        text: As the model writes it.
        log_prob: Natural log, of the whole hypothesis.
        looped: The loop guard cut a repetition.
        confidence: 0 to 1: the geometric mean of the model's probabilities of the tokens, that is
            ``exp(log_prob / tokens)``; see ``token_confidence``. None where a loop was cut, or
            where there is no token.
    """

    text: str
    log_prob: float
    looped: bool
    confidence: float | None = None


def recognise(
    model: SpeechModel,
    clips: Sequence[Clip] | Callable[[int], Clip],
    durations_s: Sequence[float],
    options: DecodeOptions = DecodeOptions(),
    progress: Callable[[float], None] | None = None,
) -> list[Recognised]:
    """Transcribe clips, longest context first, in batches of one context.

    Args:
        model: In evaluation mode.
        clips: float32 arrays at 16 kHz, or a function from index to one (decoded when needed).
        durations_s: Seconds of each clip, for the batching.
        options: See there.
        progress: Called with seconds of audio after each batch.

    Returns:
        One result a clip, in the order of the clips.

    Raises:
        RunError: The model was trained without text: it has no letters.
    """
    return [
        Recognised(
            model.tokenizer.decode(found.tokens).strip(),
            found.log_prob,
            found.looped,
            token_confidence(found, has_end=isinstance(model, Seq2SeqModel)),
        )
        for (found,) in n_best_lists(model, clips, durations_s, options, progress=progress)
    ]


@torch.inference_mode()
def n_best_lists(
    model: SpeechModel,
    clips: Sequence[Clip] | Callable[[int], Clip],
    durations_s: Sequence[float],
    options: DecodeOptions,
    n_best: int = 1,
    progress: Callable[[float], None] | None = None,
) -> list[list[Hypothesis]]:
    """What ``recognise`` chooses from: the hypotheses of every clip, best first.

    Args:
        model: See ``recognise``.
        clips: See ``recognise``.
        durations_s: See ``recognise``.
        options: See there.
        n_best: At most so many a clip, and no more than ``options.beam``.
        progress: See ``recognise``.

    Raises:
        RunError: The model was trained without text: it has no letters.
        UsageError: ``n_best`` is more than the beam, or the model is in training mode.
    """
    if isinstance(model, CTCModel) and not model.tokenizer.symbols:
        raise RunError(
            "this model was trained without text, so it has no letters to write with; it is a base "
            "for a recipe that learns some: xlasr adapt CORPUS --base RUN --recipe ctc"
        )
    load = clips if callable(clips) else clips.__getitem__
    encoder = model.encoder
    limit = encoder.max_positions if options.full_context else None
    bucket = 1 if encoder.max_positions else 25  # where padding is masked, half a second together
    contexts = [
        limit or -(-encoder.positions(max(1, round(d * 16_000))) // bucket) * bucket
        for d in durations_s
    ]
    device = next(model.parameters()).device
    results: list[list[Hypothesis]] = [[] for _ in durations_s]
    order = sorted(range(len(contexts)), key=lambda i: -contexts[i])
    at = 0
    while at < len(order):
        context = contexts[order[at]]
        seconds = max(context * encoder.samples_per_position / 16_000, 0.1)
        size = max(1, int(options.batch_s // seconds))
        rows = [i for i in order[at : at + size] if contexts[i] == context]
        at += len(rows)
        batch = [load(i) for i in rows]
        features = model.features(batch, context if encoder.context or limit else None).to(device)
        lists = hypotheses(model, encoder(features), features.input_lens, options, n_best)
        for row, found in zip(rows, lists, strict=True):
            results[row] = found
        if progress:
            progress(sum(durations_s[i] for i in rows))
    return results


def token_confidence(found: Hypothesis, *, has_end: bool) -> float | None:
    """Return the geometric mean of the model's probabilities of the tokens of a hypothesis.

    A decoder's is that of its pieces and its end token, given those before. That of CTC is the
    probability of the letters summed over all their alignments (with a beam: over those that it
    kept), to the power of one over their number; that of a transducer the same, but without a beam
    of the one alignment that was found. No language model, length normalisation or bonus
    is in it. It is not calibrated, and pieces are no letters: compare it within one run, to find
    what to check first, not across models.

    Args:
        found: The hypothesis; ``log_prob`` natural.
        has_end: ``log_prob`` counts an end token too, if the hypothesis is complete.

    Returns:
        0 to 1; None where the loop guard cut tokens (what is left says nothing about them), where
        there is no token, or where ``log_prob`` is not finite.
    """
    n_tokens = len(found.tokens) + int(has_end and found.complete)
    if found.looped or not n_tokens or not isfinite(found.log_prob):
        return None
    return min(1.0, exp(found.log_prob / n_tokens))


@torch.inference_mode()
def hypotheses(
    model: SpeechModel,
    states: Tensor,
    input_lens: Tensor,
    options: DecodeOptions,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """Decode clips that are encoded already.

    Args:
        model: In evaluation mode.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        options: See there; the states have their context.
        n_best: At most so many hypotheses a clip, and no more than ``options.beam``.

    Returns:
        For each clip its hypotheses, best first; at least one.

    Raises:
        UsageError: ``n_best`` is more than the beam, or the model is in training mode.
    """
    if not 1 <= n_best <= options.beam:
        raise UsageError(f"n_best must be between 1 and beam ({options.beam}); found {n_best}")
    if isinstance(model, Seq2SeqModel):
        tokens = model.tokenizer
        longest_s = float(input_lens.max()) / 16_000
        common: dict[str, Any] = {
            # speech has at most about 10 bytes-pieces a second; the guard catches loops before
            "max_tokens": min(model.max_tokens - len(tokens.prompt), 24 + int(longest_s * 24)),
            "allowed": tokens.allowed,
            "is_pad": model.is_pad(states, input_lens),
        }
        if options.is_greedy:
            return [
                [found]
                for found in seq2seq.greedy(model.hf, states, tokens.prompt, tokens.eot, **common)
            ]
        return seq2seq_beam.beam(
            model.hf,
            states,
            tokens.prompt,
            tokens.eot,
            beam=options.beam,
            n_best=n_best,
            lm=options.lm,
            lm_weight=options.lm_weight,
            **common,
        )
    lens = model.out_lens(input_lens)
    if (head := ctc_head(model)) and options.is_greedy:
        log_probs = head(states)
        best = ctc.greedy(log_probs, lens)
        sums = _summed(log_probs, lens, best).tolist()
        return [[Hypothesis(t, p, p)] for t, p in zip(best, sums, strict=True)]
    found = []
    for rows, n in zip(states, lens.tolist(), strict=True):
        search = Search(model, options)
        search.push(rows[:n])
        found.append(search.hypotheses(n_best))
    return found


def ctc_head(model: CTCModel | Transducer) -> Callable[[Tensor], Tensor] | None:
    """What turns states into log-probabilities, where letters are written by CTC."""
    return model.log_probs if isinstance(model, CTCModel) or model.by_ctc else None


def _summed(log_probs: Tensor, lens: Tensor, tokens: Sequence[Sequence[int]]) -> Tensor:
    """Log-probability (B,) of tokens, summed over all alignments; the CTC loss is its negative.

    Source: Graves et al. 2006, equation 7.
    """
    flat = torch.tensor([t for row in tokens for t in row], dtype=torch.long)
    sizes = torch.tensor([len(row) for row in tokens], dtype=torch.long)
    on_cpu = log_probs.float().cpu().transpose(0, 1)  # (T', B, V); one path for every machine
    return -functional.ctc_loss(on_cpu, flat, lens.cpu(), sizes, reduction="none")
