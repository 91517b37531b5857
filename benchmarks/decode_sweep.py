"""Choose beam width and language model of a finished run on dev, never on test.

    python benchmarks/decode_sweep.py RUN --beam 1 4 8 --order 3 5 --weight 0.1 0.2 --text cs.txt

Prints CER, WER and CPU-seconds of every setting on the whole dev split. Beam widths are tried
without a language model first; the best of them is then combined with every order and weight.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from xlasr import api
from xlasr.config import DecodeSettings
from xlasr.data.corpus import Corpus
from xlasr.reporting.evaluate import score_split, transcribe_split


def main() -> None:
    """Print one row a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--order", type=int, nargs="*", default=[3])
    parser.add_argument("--weight", type=float, nargs="*", default=[0.1, 0.2])
    parser.add_argument("--bonus", type=float, nargs="*", default=[0.0], help="ctc only")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    run = api.open_run(given.run)
    dev = Corpus.open(run.facts["corpus"]["path"]).split("dev")
    print(f"{'beam':>5}{'order':>6}{'weight':>7}{'bonus':>6}{'CER':>8}{'WER':>8}{'CPU-s':>7}")

    def row(settings: DecodeSettings) -> float:
        began = time.process_time()
        options = run.options(settings)
        found = score_split(dev, transcribe_split(run.model, dev, options), "headline")
        print(
            f"{settings.beam:5}{settings.lm_order:6}{settings.lm_weight:7.2f}"
            f"{settings.length_bonus:6.1f}{100 * found.cer:8.2f}{100 * found.wer:8.2f}"
            f"{time.process_time() - began:7.0f}",
            flush=True,
        )
        return found.cer

    plain = {b: row(DecodeSettings(beam=b, lm_order=0, lm_weight=0.0)) for b in given.beam}
    beam = min(plain, key=lambda b: plain[b])
    for order in given.order:
        for weight in given.weight:
            for bonus in given.bonus:
                row(
                    DecodeSettings(
                        beam=beam,
                        lm_order=order,
                        lm_weight=weight,
                        lm_text=given.text,
                        length_bonus=bonus,
                    )
                )


if __name__ == "__main__":
    main()
