"""The recipe that everybody copies, on an xlasr corpus: the peer that xlasr is measured against.

transformers' ``Seq2SeqTrainer`` on Whisper as in the popular fine-tuning tutorial: every clip is
padded to 30 s, all weights are trained, AdamW, linear warm-up and decay, greedy ``generate`` at
30 s. ``--family ctc`` is its CTC counterpart: Whisper's encoder and a new head, padded to 30 s,
under the plain ``Trainer``. Nothing of xlasr is used but its corpus, its letters and its scoring.

    python benchmarks/copied_recipe.py CORPUS --out results.jsonl
    python benchmarks/copied_recipe.py CORPUS --trainable decoder --updates 100 --out results.jsonl
    python benchmarks/copied_recipe.py CORPUS --family ctc --lr 2e-4 --out results.jsonl

Against the tutorial: log-mels are made when a batch is (under 1 % of a step), not beforehand on
disk; checkpoints and evaluation during training are off, so that only training is measured; the
texts are those that the score looks at (``--text raw`` trains on casing and punctuation).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    WhisperForConditionalGeneration,
    WhisperModel,
    WhisperProcessor,
    set_seed,
)

from xlasr.data.cache import cache_dir
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.text import normalise
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.whisper_ct2 import fetch_tiny_en
from xlasr.scoring import rate_interval, score

SAMPLES_PER_POSITION = 320
MAX_S = 30.0


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    """Largest resident size of this process so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clips(torch.utils.data.Dataset[dict[str, Any]]):
    """Features and labels of utterances, made when asked for.

    Args:
        utterances: Clips of at most 30 s.
        processor: Whisper's.
        text: Name of xlasr's normaliser.
        alphabet: Labels are its ids; None takes the processor's tokenizer.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        processor: Any,
        text: str,
        alphabet: CharTokenizer | None,
    ) -> None:
        self.utterances = utterances
        self.processor = processor
        self.text = text
        self.alphabet = alphabet

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, i: int) -> dict[str, Any]:
        utterance = self.utterances[i]
        samples = utterance.load()
        extractor = self.processor.feature_extractor
        features = extractor(samples, sampling_rate=16000).input_features[0]
        text = normalise(utterance.text, self.text)
        if self.alphabet is None:
            labels = self.processor.tokenizer(text).input_ids
        else:
            labels = self.alphabet.encode(text)
        lens = -(-len(samples) // SAMPLES_PER_POSITION)
        return {"input_features": features, "labels": labels, "lens": lens, "audio_s": len(samples)}


@dataclass
class DataCollatorSpeechSeq2SeqWithPadding:
    """Stack 30 s features; pad labels with -100; drop the start token, the model adds it."""

    decoder_start_token_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Collate a batch."""
        batch = stack(rows)
        if bool((batch["labels"][:, 0] == self.decoder_start_token_id).all()):
            batch["labels"] = batch["labels"][:, 1:]
        del batch["lens"]
        return batch


def stack(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Collate a batch; labels padded with -100."""
    labels = [torch.tensor(row["labels"]) for row in rows]
    padded = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    return {
        "input_features": torch.from_numpy(np.stack([row["input_features"] for row in rows])),
        "labels": padded,
        "lens": torch.tensor([row["lens"] for row in rows]),
        "audio_s": torch.tensor([row["audio_s"] for row in rows]) / 16000,
    }


class EncoderWithHead(nn.Module):
    """Whisper's encoder, padded to 30 s, and a new CTC head; blank is 0."""

    def __init__(self, folder: Path, n_classes: int) -> None:
        super().__init__()
        whisper = WhisperModel.from_pretrained(folder, dtype=torch.float32)
        self.encoder = whisper.encoder
        self.head = nn.Linear(whisper.config.d_model, n_classes)

    def forward(
        self, input_features: Tensor, lens: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return log-probabilities (B, 1500, V), and the loss where there are labels (B, U)."""
        states = self.encoder(input_features).last_hidden_state
        log_probs = self.head(states).log_softmax(-1)
        if labels is None:
            return {"logits": log_probs}
        loss = nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            labels.clamp(min=0),
            lens,
            (labels >= 0).sum(1),
            zero_infinity=True,
        )
        return {"loss": loss, "logits": log_probs}


@dataclass
class Seen:
    """What training has used."""

    audio_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)


def counting(trainer: type[Trainer], seen: Seen) -> type[Trainer]:
    """Return a trainer that counts the speech of each step, without the padding."""

    class Counting(trainer):  # type: ignore[misc, valid-type]
        def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> Tensor:
            start = time.perf_counter()
            seen.audio_s += float(inputs.pop("audio_s").sum())
            loss: Tensor = super().training_step(model, inputs, *rest)
            seen.steps_s.append(time.perf_counter() - start)
            return loss

    return Counting


def freeze(model: nn.Module, family: str, trainable: str) -> None:
    """Freeze what is not asked for, as the tutorials do: it still runs, without gradients."""
    if trainable == "full":
        return
    if trainable == "decoder" and family == "seq2seq":
        model.freeze_encoder()
        return
    if trainable == "head" and family == "ctc":
        model.encoder.requires_grad_(False)
        return
    raise SystemExit(f"--trainable {trainable} does not go with --family {family}")


def train(args: argparse.Namespace, clips: Clips, model: nn.Module) -> dict[str, Any]:
    """Train and return what it cost."""
    epoch = -(-len(clips) // args.batch)
    updates = args.updates or epoch * args.epochs
    seen = Seen()
    common: dict[str, Any] = {
        "output_dir": str(args.scratch),
        "per_device_train_batch_size": args.batch,
        "learning_rate": args.lr,
        "warmup_steps": args.warmup if args.warmup is not None else updates // 10,
        "max_steps": updates,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "logging_steps": max(1, min(25, updates // 4)),
        "remove_unused_columns": False,
        "use_cpu": True,
        "seed": args.seed,
    }
    trainer: Trainer
    if args.family == "seq2seq":
        start = model.config.decoder_start_token_id
        trainer = counting(Seq2SeqTrainer, seen)(
            model=model,
            args=Seq2SeqTrainingArguments(**common, predict_with_generate=True),
            train_dataset=clips,
            data_collator=DataCollatorSpeechSeq2SeqWithPadding(start),
            processing_class=clips.processor,
        )
    else:
        trainer = counting(Trainer, seen)(
            model=model,
            args=TrainingArguments(**common, label_names=["labels"]),
            train_dataset=clips,
            data_collator=stack,
        )
    cpu, wall, before = cpu_seconds(), time.perf_counter(), peak_mb()
    loss = trainer.train().training_loss
    wall_s = time.perf_counter() - wall
    return {
        "updates": updates,
        "train_loss": round(loss, 4),
        "train_wall_s": round(wall_s, 1),
        "train_cpu_s": round(cpu_seconds() - cpu, 1),
        "train_audio_s": round(seen.audio_s, 1),
        "audio_s_per_s": round(seen.audio_s / wall_s, 3),
        "median_step_s": round(statistics.median(seen.steps_s), 3),
        "peak_rss_before_training_mb": round(before),
        "peak_rss_mb": round(peak_mb()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def transcribe(args: argparse.Namespace, clips: Clips, model: nn.Module) -> dict[str, str]:
    """Greedy transcripts by id, in batches at 30 s."""
    model.eval()
    texts: dict[str, str] = {}
    for start in range(0, len(clips), args.decode_batch):
        stop = min(start + args.decode_batch, len(clips))
        batch = stack([clips[i] for i in range(start, stop)])
        with torch.inference_mode():
            if args.family == "seq2seq":
                ids = model.generate(
                    batch["input_features"], num_beams=1, do_sample=False, max_new_tokens=225
                )
                found = clips.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
            else:
                best = model(batch["input_features"], batch["lens"])["logits"].argmax(-1)
                rows = zip(best, batch["lens"].tolist(), strict=True)
                found = [collapse(row[:n], clips.alphabet) for row, n in rows]
        for i, text in zip(range(start, stop), found, strict=True):
            texts[clips.utterances[i].id] = text
    return texts


def collapse(ids: Tensor, alphabet: CharTokenizer | None) -> str:
    """CTC's greedy reading: repeats merged, blanks dropped."""
    merged = torch.unique_consecutive(ids).tolist()
    return alphabet.decode(i for i in merged if i) if alphabet else ""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, decode and score; return the row."""
    set_seed(args.seed)
    torch.set_num_threads(args.threads)
    folder = args.base or fetch_tiny_en(cache_dir())
    corpus = Corpus.open(args.corpus)
    processor = WhisperProcessor.from_pretrained(folder)
    training = [u for u in corpus.split("train") if u.duration_s <= MAX_S][: args.max_train_clips]
    testing = [u for u in corpus.split(args.split) if u.duration_s <= MAX_S][: args.max_test_clips]
    alphabet = None
    model: nn.Module
    if args.family == "seq2seq":
        model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        model.generation_config.suppress_tokens = None
    else:
        alphabet = CharTokenizer.from_texts(normalise(u.text, args.text) for u in training)
        model = EncoderWithHead(folder, len(alphabet))
    freeze(model, args.family, args.trainable)
    clips = Clips(training, processor, args.text, alphabet)
    row: dict[str, Any] = {
        "system": "copied recipe",
        "corpus": corpus.path.name,
        "corpus_sha256": corpus.sha256,
        **{k: getattr(args, k) for k in ("family", "trainable", "lr", "batch", "text", "seed")},
        "threads": args.threads,
        "train_clips": len(training),
    }
    row |= train(args, clips, model)
    cpu = cpu_seconds()
    hypotheses = transcribe(args, Clips(testing, processor, args.text, alphabet), model)
    row |= {"split": args.split, "test_clips": len(testing)}
    row["decode_cpu_s"] = round(cpu_seconds() - cpu, 1)
    references, groups = {u.id: u.text for u in testing}, {u.id: u.group for u in testing}
    result = score(references, hypotheses, groups, "headline")
    for found, metric in ((rate_interval(result, m), m) for m in ("wer", "cer")):
        # a handful of clips has too few groups for an interval
        interval = None if math.isnan(found.low) else [round(end, 5) for end in found.ends]
        row |= {metric: round(found.value, 5), f"{metric}_interval": interval}
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        if isinstance(model, WhisperForConditionalGeneration):
            model.save_pretrained(args.save)
            processor.save_pretrained(args.save)
        elif alphabet:
            from safetensors.torch import save_file

            state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
            save_file(state, str(args.save / "model.safetensors"))
            alphabet.save(args.save)
        text = json.dumps(hypotheses, ensure_ascii=False, indent=1)
        (args.save / f"{args.split}.json").write_text(text, encoding="utf-8")
    return row


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--base", type=Path, help="transformers directory (default: built in)")
    parser.add_argument("--family", choices=["seq2seq", "ctc"], default="seq2seq")
    parser.add_argument("--trainable", choices=["full", "decoder", "head"], default="full")
    parser.add_argument("--updates", type=int, help="default: --epochs")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="clips")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--warmup", type=int, help="updates (default: a tenth)")
    parser.add_argument("--text", choices=["headline", "raw"], default="headline")
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-train-clips", type=int)
    parser.add_argument("--max-test-clips", type=int)
    parser.add_argument("--decode-batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/copied-recipe"))  # noqa: S108
    parser.add_argument("--save", type=Path, help="keep the model and its transcripts here")
    parser.add_argument("--out", type=Path, help="append the row to this file")
    args = parser.parse_args()
    row = run(args)
    print(json.dumps(row, ensure_ascii=False, indent=1))
    if args.out:
        with args.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
