"""Do other runtimes hear the same? A finished Whisper run in transformers and in faster-whisper.

    python benchmarks/same_transcripts.py RUN [--clips 100]

Transcribes clips of the test split greedily at 30 s, without time stamps, with xlasr, with plain
transformers from the run's own folder and with faster-whisper from its CTranslate2 export
(float32), and prints how many transcripts are the same, character by character, and the CER
between them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from xlasr import api
from xlasr.data.corpus import Corpus
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.scoring import score

SAMPLES = 30 * 16_000


def with_transformers(folder: Path, clips: list[np.ndarray]) -> list[str]:
    """Greedy ``generate`` at 30 s, as its user would call it."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for clip in clips:
        features = processor([clip], sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            ids = model.generate(features, num_beams=1, do_sample=False)
        found += processor.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in found]


def with_faster_whisper(folder: Path, clips: list[np.ndarray]) -> list[str]:
    """Greedy; the clips are padded here, because it pads features with zeros, not with silence."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="float32", local_files_only=True)
    found = []
    for clip in clips:
        segments, _ = model.transcribe(
            np.pad(clip, (0, SAMPLES - len(clip))),
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            no_speech_threshold=None,
            suppress_tokens=[],
        )
        found.append(" ".join(segment.text.strip() for segment in segments))
    return found


def main() -> None:
    """Print one row a runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=100, help="of the test split, evenly spread")
    given = parser.parse_args()
    run = api.open_run(given.run)
    split = Corpus.open(run.facts["corpus"]["path"]).split("test")
    at = np.linspace(0, len(split) - 1, min(given.clips, len(split))).round().astype(int)
    clips = [split[int(i)].load() for i in at if split[int(i)].duration_s <= 30]
    seconds = [len(clip) / 16_000 for clip in clips]
    heard = recognise(run.model, clips, seconds, DecodeOptions(full_context=True))
    ours = [found.text.strip() for found in heard]
    loops = {i for i, found in enumerate(heard) if found.looped}
    print(f"{len(clips)} clips; xlasr's loop guard cut {len(loops)}, which are left out below")
    with tempfile.TemporaryDirectory() as folder:
        exported = api.export(given.run, Path(folder) / "ct2")
        others = {
            "transformers": with_transformers((given.run / "model").resolve(), clips),
            "faster-whisper": with_faster_whisper(exported, clips),
        }
    for name, texts in others.items():
        kept = [i for i in range(len(clips)) if i not in loops]
        same = sum(ours[i] == texts[i] for i in kept)
        between = score(
            {str(i): ours[i] for i in kept}, {str(i): texts[i] for i in kept}, normaliser="raw"
        )
        print(
            f"{name:15} {same} of {len(kept)} the same; CER between them {100 * between.cer:.2f} %"
        )
        for i in [i for i in kept if ours[i] != texts[i]][:3]:
            print(f"    {ours[i]!r}\n    {texts[i]!r}")


if __name__ == "__main__":
    main()
