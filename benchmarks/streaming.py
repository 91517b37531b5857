"""What a stream costs on one core, in float32 and with 8-bit weights; and an hour of it.

    python benchmarks/streaming.py CORPUS [--shapes emformer-small emformer-20] [--seconds 60]
    python benchmarks/streaming.py CORPUS --run RUN [--seconds 600]
    python benchmarks/streaming.py CORPUS --shapes emformer-small --precision float32 --hour

Clips of the split are joined and pushed 160 ms at a time; one JSON line for each model and
precision, each in a process of its own with one thread. Times are of the process's CPU: seconds of
computing for a second of audio, and for each segment (features, encoder, search; greedy, or with
``--beam``). Peak memory includes PyTorch and the audio. ``--shapes`` have random weights:
``emformer-20`` with the predictor and joiner of its recipe and 5001 symbols, ``emformer-small``
with letters; their blank is made likely enough that they write at most 15 symbols a second: good
for speed, no use for what 8 bits do to a text. ``--run`` takes finished runs (ctc, transducer); of
those that do not stream only size and error are told. The error of 8 bits is that of the encoder's
outputs for whole clips (mean |difference| over mean |value|), and the edits between greedy tokens
in a hundred of them.

Where torchao is installed, its dynamic int8 (``Int8DynamicActivationInt8WeightConfig``, without
``torch.compile``) on the same layers is a third line.

``--hour`` repeats the audio for an hour and prints peak memory every ten minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from importlib.util import find_spec
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 2560
RATE = 16_000
HOUR = 3600 * RATE
PIECES = 5001
"""Symbols of emformer-20, blank and all."""
PRECISIONS = ["float32", "int8", *(["torchao"] if find_spec("torchao") else [])]


def opened(name: str, *, is_run: bool, samples: np.ndarray) -> Any:
    """A finished model, or one of random weights that knows the mean of its features."""
    import torch

    from xlasr import api
    from xlasr.config import load_recipe
    from xlasr.decoding.streaming import StreamDecoder
    from xlasr.features.streaming import FrameStatistics
    from xlasr.models.hub import find_base
    from xlasr.models.run import from_base
    from xlasr.models.tokenizer import CharTokenizer
    from xlasr.models.transducer import TransducerShape

    if is_run:
        return api.open_run(name).model
    torch.manual_seed(0)
    alphabet, shape = " abcdefghijklmnopqrstuvwxyz", TransducerShape()
    if name == "emformer-20":
        sizes = load_recipe(name).transducer
        shape = TransducerShape(**sizes.model_dump() if sizes else {})
        alphabet = " " + "".join(chr(0x4E00 + i) for i in range(PIECES - 2))  # and the blank
    model: Any = from_base(
        find_base(name),
        "transducer",
        context=None,
        language="und",
        alphabet=CharTokenizer(list(alphabet)),
        shape=shape,
    ).eval()
    first = samples[: 10 * RATE]
    model.encoder.measure(FrameStatistics.of_clips([first]))
    while True:
        found = StreamDecoder(model)
        n = sum(len(h.text) for h in [*found.push(first), *found.flush()] if h.is_final)
        if n / (len(first) / RATE) <= 15:
            return model
        with torch.no_grad():
            model.joiner.output.bias[0] += 0.05 if len(alphabet) < 100 else 0.5


def blocks_of(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK)]


def measured(model: Any, samples: np.ndarray, beam: int) -> tuple[dict[str, float], str]:
    """What it costs, and what was heard."""
    from xlasr.decoding.latency import Meter
    from xlasr.decoding.recognise import DecodeOptions
    from xlasr.decoding.streaming import StreamDecoder

    how = DecodeOptions(beam=beam)
    StreamDecoder(model, how).push(samples[: 5 * RATE])  # first contact with every shape
    decoder, meter = StreamDecoder(model, how), Meter(time.process_time)
    texts = []
    for begin in [
        *(lambda block=block: decoder.segments(block) for block in blocks_of(samples)),
        decoder.last_segments,
    ]:
        texts += [h.text for h in chain(*meter.timed(begin)) if h.is_final]
    return meter.cost(len(samples) / RATE).as_json(), "".join(texts)


def outputs(model: Any, clips: list[np.ndarray]) -> tuple[Any, list[list[int]]]:
    """Encoder outputs of all clips, and the greedy tokens of each."""
    import torch

    from xlasr.decoding.recognise import DecodeOptions, Search
    from xlasr.models.int8 import encoder_outputs

    found, tokens = [], []
    for clip in clips:
        found.append(encoder_outputs(model, [clip]))
        search = Search(model, DecodeOptions())
        search.push(found[-1])
        tokens.append(search.hypotheses()[0].tokens)
    return torch.cat(found), tokens


def cell(name: str, is_run: bool, precision: str, clips: list[np.ndarray], beam: int) -> None:
    """One line: a model in one precision."""
    import torch
    from rapidfuzz.distance import Levenshtein

    from xlasr.decoding.latency import algorithmic_latency
    from xlasr.models.int8 import output_error, size_mb
    from xlasr.models.streaming import StreamingEncoder

    torch.set_num_threads(1)
    samples = np.concatenate(clips)
    model = opened(name, is_run=is_run, samples=samples)
    row: dict[str, Any] = {
        "model": name,
        "weights": "trained" if is_run else "random",
        "precision": precision,
        "beam": beam,
        "size_mb": round(size_mb(model), 1),
    }
    if precision != "float32":
        exact, tokens = outputs(model, clips)
        quantise(model, precision)
        # torchao's tensors do not say what they hold
        row["size_mb"] = round(size_mb(model), 1) if precision == "int8" else None
        found, others = outputs(model, clips)
        row["output_error"] = round(output_error(exact, found), 5)
        edits = sum(map(Levenshtein.distance, tokens, others))
        n = sum(map(len, tokens))
        row |= {"tokens": n, "changed_percent": round(100 * edits / max(1, n), 2)}
        del exact, found
    if not isinstance(model.encoder, StreamingEncoder):
        print(json.dumps(row), flush=True)
        return
    cost, text = measured(model, samples, beam)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["algorithmic_latency"] = algorithmic_latency(model.encoder)
    row |= cost | {"symbols_per_s": round(len(text) / cost["audio_s"], 2), "peak_mib": round(peak)}
    print(json.dumps(row), flush=True)


def quantise(model: Any, precision: str) -> None:
    """Round the matrices of the encoder's layers, by xlasr or by torchao."""
    from xlasr.models.int8 import to_int8

    if precision == "int8":
        to_int8(model)
        return
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    for layer in model.encoder.layer_modules():
        quantize_(layer, Int8DynamicActivationInt8WeightConfig())


def hour(name: str, is_run: bool, precision: str, clips: list[np.ndarray], beam: int) -> None:
    """Peak memory along an hour of audio."""
    import torch

    from xlasr.decoding.recognise import DecodeOptions
    from xlasr.decoding.streaming import StreamDecoder

    torch.set_num_threads(1)
    samples = np.concatenate(clips)
    model = opened(name, is_run=is_run, samples=samples)
    if precision != "float32":
        quantise(model, precision)
    decoder = StreamDecoder(model, DecodeOptions(beam=beam))
    heard = finals = 0
    for block in cycle(blocks_of(samples)):
        finals += sum(h.is_final for h in decoder.push(block))
        if heard // (HOUR // 6) < (heard + len(block)) // (HOUR // 6):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            minutes = round((heard + len(block)) / RATE / 60)
            row = {"model": name, "minutes": minutes, "final_texts": finals}
            print(json.dumps(row | {"peak_mib": round(peak, 1)}), flush=True)
        heard += len(block)
        if heard >= HOUR:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--shapes", nargs="*", default=["emformer-small", "emformer-20"])
    parser.add_argument("--run", nargs="*", default=[], help="finished runs, instead of shapes")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--precision", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    options = parser.parse_args()
    from xlasr.data.corpus import Corpus

    clips, n = [], 0
    for utterance in Corpus.open(options.corpus).split(options.split):
        clips.append(np.asarray(utterance.load(), np.float32))
        n += len(clips[-1])
        if n >= options.seconds * RATE:
            break
    spawn = multiprocessing.get_context("spawn")
    names = [(name, True) for name in options.run] or [(name, False) for name in options.shapes]
    for name, is_run in names:
        for precision in options.precision:
            work = spawn.Process(
                target=hour if options.hour else cell,
                args=(name, is_run, precision, clips, options.beam),
            )
            work.start()
            work.join()
            if work.exitcode:
                raise SystemExit(work.exitcode)


if __name__ == "__main__":
    main()
